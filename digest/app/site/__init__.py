"""The public pages: the archive, metadata, and the record of processing."""

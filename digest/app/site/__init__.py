"""The public pages: the archive, its metadata, and the record of processing."""

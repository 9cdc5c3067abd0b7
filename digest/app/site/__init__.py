"""What the public pages show: the archive, metadata, and the record of processing."""

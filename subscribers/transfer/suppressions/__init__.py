"""The suppression list as a file of hashes: written, read, and adopted."""

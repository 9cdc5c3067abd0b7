"""The suppression list as a file of hashes, which is exported, read, and adopted."""

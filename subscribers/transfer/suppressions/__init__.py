"""The suppression list as a file of hashes, which can be exported, read, and adopted."""

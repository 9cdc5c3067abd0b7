"""The suppression list as a file of hashes: exported, read, and adopted."""

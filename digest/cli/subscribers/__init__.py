"""The `digest subscribers` command, which manages the list and its subscribers."""

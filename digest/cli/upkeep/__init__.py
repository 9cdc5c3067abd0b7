"""The commands that set up, check, back up, and upgrade the installation."""

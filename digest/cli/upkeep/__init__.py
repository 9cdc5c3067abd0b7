"""Commands that set up, check, back up, and upgrade the installation."""

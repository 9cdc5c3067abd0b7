"""Commands that set up, examine, back up, and upgrade the installation."""

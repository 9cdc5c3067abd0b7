"""Sources: their articles, their health, and editions from before this installation."""

"""Sources: their articles and health, and editions sent before this installation."""

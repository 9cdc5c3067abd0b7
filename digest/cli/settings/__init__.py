"""The commands for templates and images."""

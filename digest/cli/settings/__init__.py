"""Commands for templates and images."""

"""Commands for templates and pictures."""

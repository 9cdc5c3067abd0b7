"""The calendar of editions at the desk."""

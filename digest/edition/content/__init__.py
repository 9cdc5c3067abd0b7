"""What an edition says, ready for the templates."""

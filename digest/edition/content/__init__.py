"""An edition's content, ready for the templates."""

"""An edition as values that the templates print. Pure."""

"""An edition as values that templates print. Pure."""

"""An edition as finished pieces of mail, rendered once."""

"""An edition's page at the desk, and every action on it."""

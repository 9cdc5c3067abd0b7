"""The calendar of editions: skip, move, and add them, and see what comes before each."""

"""The calendar of editions: skipping, moving, and adding them, and the steps before each."""

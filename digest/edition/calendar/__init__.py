"""The days of editions: their windows, names, and send times."""

"""The dates of editions: their windows, names, and send times."""

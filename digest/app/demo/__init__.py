"""`digest demo`: a whole week on the bundled sample, with invented subscribers."""

"""Evaluation of story selection against hand-made labels, for measuring the effect of weight changes."""

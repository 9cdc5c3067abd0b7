"""Evaluation of story selection against hand-made labels, which measures the effect of changed weights."""

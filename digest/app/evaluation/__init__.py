"""Evaluation of story selection against hand-made labels, so that a change in weights can be measured."""

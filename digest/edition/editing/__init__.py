"""Editors' actions, and the arrangement that results from them and the proposal."""

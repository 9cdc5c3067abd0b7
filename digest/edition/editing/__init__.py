"""Editors' actions and the arrangement that they and the proposal fold into."""

"""The providers, one folder each, found by `registry`."""

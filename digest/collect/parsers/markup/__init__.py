"""Parsing markup: character sets, XML, JSON-LD, and plain text."""

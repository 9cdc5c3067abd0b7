"""Reading the markup that documents are written in: character sets, XML, JSON-LD, and plain text."""

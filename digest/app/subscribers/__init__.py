"""The list: finding, importing, exporting, and counting subscribers."""

"""Sources in the database, their visit counts, and the readership of the site's own pages."""

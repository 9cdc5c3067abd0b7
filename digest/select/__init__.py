"""Articles → stories: group, rank and choose. Pure: values and `now` in, a named decision out."""

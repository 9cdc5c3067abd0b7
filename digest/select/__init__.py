"""Story selection: group articles into stories, rank them, and choose. Pure functions of values and `now`."""

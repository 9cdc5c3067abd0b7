"""Group articles into stories, rank the stories, and choose which to include.

All functions are pure: they depend only on their arguments, including `now`.
"""

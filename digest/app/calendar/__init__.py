"""The edition calendar: skipping, moving, and adding editions, and the steps before each of them."""

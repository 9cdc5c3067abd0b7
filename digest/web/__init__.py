"""The web pages: the archive for subscribers, the desk for editors, and admin pages. `app` connects everything."""

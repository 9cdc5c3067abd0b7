"""The web pages: the archive for subscribers, the desk for editors, and the admin pages.

`app` combines them.
"""

"""The pages of readers, put together: every module of this package adds its routes to one of two blueprints."""

from subscribers.pages import contact, my_data, preferences, unsubscribe  # noqa: F401 - they add their routes
from subscribers.pages.context import reader_pages
from subscribers.pages.signup import signup_pages

__all__ = ["reader_pages", "signup_pages"]

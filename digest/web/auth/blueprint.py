"""The blueprint of the sign-in pages."""

from digest.web.auth import own_account_pages, pages

auth_pages = pages.auth_pages
__all__ = ["auth_pages", "own_account_pages"]

"""Forms of pages for tests without a browser: reading hidden fields, and submitting a form."""

import re
from typing import Any

TOKEN_PAGE = "/admin/staff"  # one that every admin can open: a session has one token for all forms


def hidden_fields(page: str) -> dict[str, str]:
    """Return what the hidden fields of a page hold, by name."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


def form_token(page: str) -> dict[str, str]:
    """Return the field with the token that a page's forms hold."""
    return {"csrf_token": re.findall(r'name="csrf_token" value="([^"]+)"', page)[0]}


def fetch_token(client: Any, path: str = TOKEN_PAGE) -> dict[str, str]:
    """Return the field with the token of a client's session, as a page shows it."""
    return form_token(client.get(path).text)


def post_form(client: Any, path: str, *, token_page: str = TOKEN_PAGE, **fields: Any) -> Any:
    """Send fields with the token that `token_page` shows."""
    return client.post(path, data=fetch_token(client, token_page) | fields)

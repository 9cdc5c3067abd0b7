"""Guarded requests to URLs in the settings, such as webhooks.

They're guarded like all fetches, but redirects aren't followed.
"""

from collections.abc import Mapping
from types import MappingProxyType

import httpx

from digest.collect.fetch import fetch_rules, http_connection
from digest.collect.fetch.address_guard import AddressGuard
from digest.collect.fetch.fetcher import build_user_agent
from digest.collect.fetch.result import FetchError
from digest.settings import Settings

TIMEOUT = 10.0  # seconds per request


def send_guarded_request(
    settings: Settings,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Send a GET request, or a POST request if there's a body.

    Return an error message, which is empty if the response had a 2xx status.
    """
    budget = http_connection.TimeBudget(TIMEOUT)
    try:
        with (
            budget.running(),
            http_connection.open_response(
                fetch_rules.parse_web_address(url),
                {"User-Agent": build_user_agent(settings.link_base), "Connection": "close", **headers},
                guard=AddressGuard(settings.file.limits.allow_networks),
                tls=httpx.create_ssl_context(),
                budget=budget,
                body=body,
            ) as response,
        ):
            status = response.status
    except FetchError as exc:
        return str(exc)
    except fetch_rules.FETCH_EXCEPTIONS as exc:
        return fetch_rules.classify_exception(exc, 0, TIMEOUT)[1]
    return "" if 200 <= status < 300 else f"status {status}"

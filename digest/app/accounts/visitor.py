"""The client that someone signs in from: its network, its browser, and its token from an earlier sign-in."""

import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass

from subscribers.crypto.keys import KeyRing
from subscribers.signup.rate_limits import find_narrowest_network

# The order matters, because most browsers also claim to be one that's listed further down.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client that signs in.

    `device` is the token that the browser received at an earlier sign-in, and `session` the token of the session
    that it already has, if any.
    """

    address: str
    user_agent: str
    device: str = ""
    session: str = ""

    @property
    def network(self) -> str:
        """The client's network as members see it, such as `203.0.113.0/24`, never a full IP address."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            return "an unknown network"
        if address.is_loopback:
            return "this machine"
        return find_narrowest_network(self.address) or "a private network"

    @property
    def browser(self) -> str:
        """The client's browser as members see it, such as `Firefox on Linux`."""
        name = _find_name(self.user_agent, _BROWSERS) or "A browser"
        system = _find_name(self.user_agent, _SYSTEMS)
        return f"{name} on {system}" if system else name


def _find_name(user_agent: str, names: tuple[tuple[str, str], ...]) -> str:
    return next((name for word, name in names if word in user_agent), "")


_DEVICE_TOKEN = re.compile(r"(\d{1,9})\.([A-Za-z0-9_-]{22})\.([0-9a-f]{64})", re.ASCII)


def make_device_token(keys: KeyRing, staff: int) -> str:
    """Return a token that identifies a browser for a year after a sign-in.

    Sign-in attempts of such a browser are counted separately.
    """
    device = secrets.token_urlsafe(16)
    return f"{staff}.{device}.{_sign_device(keys.current('session').secret, staff, device)}"


def read_device_token(keys: KeyRing, token: str, staff: int) -> str:
    """Return the browser ID in a device token, or an empty string if the token isn't valid for the member."""
    parts = _DEVICE_TOKEN.fullmatch(token)
    if parts is None or int(parts[1]) != staff:
        return ""
    signatures = (_sign_device(key.secret, staff, parts[2]) for key in keys.of_kind("session"))
    return parts[2] if any(hmac.compare_digest(parts[3], signature) for signature in signatures) else ""


def _sign_device(secret: bytes, staff: int, device: str) -> str:
    return hmac.digest(secret, f"known device\0{staff}\0{device}".encode(), "sha256").hex()

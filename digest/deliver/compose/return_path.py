"""The return path of a delivery (VERP): `bounce+<delivery>.<mac>@<domain>`.

The delivery's opaque ID says which message bounced. The MAC proves that we sent it, so that forged
bounces can't remove anyone from the list.
"""

import hmac
import re
from base64 import b32encode
from itertools import islice

from subscribers.crypto.keys import KeyRing, SecretKey

_MAC_LENGTH = 16  # base32 characters; 80 bits
# Base32 in lower case, because some mail systems change the case of the part before the @.
_LOCAL_PART = re.compile(rf"bounce\+([a-z2-7]{{1,32}})\.([a-z2-7]{{{_MAC_LENGTH}}})(?![a-z2-7])")
_MAX_SEARCHED = 5_000  # number of characters of a text to search
_MAX_CANDIDATES = 10  # number of return paths in it to check


def make_return_path(keys: KeyRing, delivery_id: str, domain: str) -> str:
    """Return a delivery's return path.

    It has at most 64 characters before the @ (RFC 5321, section 4.5.3.1.1). Without a bounce
    domain, it's empty, and bounces go to the sender's address.
    """
    return f"bounce+{delivery_id}.{_compute_mac(keys.current('return-path'), delivery_id)}@{domain}" if domain else ""


def extract_delivery_ids(keys: KeyRing, text: str) -> frozenset[str]:
    """Return the IDs of the deliveries whose genuine return paths occur in a text, such as a header's value.

    The surrounding text doesn't matter, because forwarders wrap a return path in one of their own (SRS).
    """
    matches = islice(_LOCAL_PART.finditer(text[:_MAX_SEARCHED].lower()), _MAX_CANDIDATES)
    return frozenset(delivery for match in matches if (delivery := _verified_delivery_id(keys, *match.groups())))


def _verified_delivery_id(keys: KeyRing, delivery_id: str, mac: str) -> str | None:
    macs = [_compute_mac(key, delivery_id) for key in keys.of_kind("return-path")]
    return delivery_id if any(hmac.compare_digest(own, mac) for own in macs) else None


def _compute_mac(key: SecretKey, delivery_id: str) -> str:
    digest = hmac.digest(key.secret, b"return path\0" + delivery_id.encode(), "sha256")
    return b32encode(digest[:10]).decode("ascii").lower()

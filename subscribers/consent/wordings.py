"""The exact words that people agree to. A version is never changed once it was shown: a new text is a new version."""

import hashlib
from dataclasses import dataclass

_TEXTS = {
    ("en", "1"): (
        "Yes, send me {name} by mail, once a week. I can leave at any time, with one click in every mail. "
        "My address is used for this mail alone and is shared with nobody."
    )
}
CURRENT_VERSION = ("en", "1")


@dataclass(frozen=True, slots=True)
class Wording:
    """A text that was agreed to, as it was shown."""

    version: str
    language: str
    text: str

    @property
    def hash(self) -> str:
        """The SHA-256 of the text, as the ledger keeps it beside the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def as_json(self) -> dict[str, str]:
        """Return what the ledger keeps."""
        return {
            "wording": self.text,
            "wording_version": self.version,
            "wording_hash": self.hash,
            "language": self.language,
        }


def current_wording(name: str) -> Wording:
    """Return the words that the sign-up page shows, with the publication's name in them."""
    language, version = CURRENT_VERSION
    return Wording(version, language, _TEXTS[CURRENT_VERSION].format(name=name))


def find_wording(version: str, name: str) -> Wording | None:
    """Return the words of the version that a form says it shows; None where there never was such a one.

    A form on a page elsewhere may be older than this program: what it showed is what was agreed to.
    """
    text = _TEXTS.get((CURRENT_VERSION[0], version))
    return Wording(version, CURRENT_VERSION[0], text.format(name=name)) if text else None

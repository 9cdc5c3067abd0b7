"""Preflight: rules over the final bytes of a message and over what the edition says.

Every rule has a name, a level and a section in `docs/preflight.md`. An edition with a finding of level
error cannot be approved.
"""

from digest.edition.preflight import contents, contrast, images, links, message  # each registers its rules
from digest.edition.preflight.rules import RULES, Examined, Finding, Level, PictureFacts, Sent, check

__all__ = [
    "RULES",
    "Examined",
    "Finding",
    "Level",
    "PictureFacts",
    "Sent",
    "check",
    "contents",
    "contrast",
    "images",
    "links",
    "message",
]

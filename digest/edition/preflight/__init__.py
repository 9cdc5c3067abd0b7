"""Preflight: rules over the final bytes of a message and over what the edition says.

Every rule has a name, a level and a section in `docs/preflight.md`. An edition with a finding of level
error cannot be approved.
"""

from digest.edition.preflight import contents, contrast, images, links, message  # each registers its rules
from digest.edition.preflight.rules import (
    PREFLIGHT_RULES,
    FindingLevel,
    PictureFacts,
    PreflightFinding,
    PreflightInput,
    SentStory,
    run_preflight_rules,
)

__all__ = [
    "PREFLIGHT_RULES",
    "FindingLevel",
    "PictureFacts",
    "PreflightFinding",
    "PreflightInput",
    "SentStory",
    "contents",
    "contrast",
    "images",
    "links",
    "message",
    "run_preflight_rules",
]

"""Preflight: rules over the final bytes of a message and over what the edition says.

Every rule has a name, a level and a section in `docs/preflight.md`. An edition with a finding of level
error cannot be approved.
"""

from digest.edition.preflight import content_rules, contrast_rules, image_rules, link_rules, message_rules  # noqa: F401 - each registers its rules
from digest.edition.preflight.rule_registry import (
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
    "run_preflight_rules",
]

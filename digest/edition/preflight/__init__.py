"""Preflight: rules for a message's final bytes and for the edition's content.

Every rule has a name, a level, and a section in `docs/preflight.md`. An edition with an error can't
be approved.
"""

from digest.edition.preflight import content_rules, contrast_rules, message_rules, opening_rules, weekday_rules  # noqa: F401 - each registers its rules

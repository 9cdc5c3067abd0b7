"""Preflight: rules over the final bytes of a message and over what the edition says.

Every rule has a name, a level and a section in `docs/preflight.md`. An edition with a finding of level
error cannot be approved.
"""

from digest.edition.preflight import content_rules, contrast_rules, message_rules, opening_rules  # noqa: F401 - each registers its rules

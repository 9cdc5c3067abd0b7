"""Why somebody has to see an address: what the forms offer, and what they say."""

from flask import request

from digest.installation.reasons import read_reason

LOOK_REASONS = ("A reader asked", "A mail came back or was complained about")


def read_look_reason() -> str:
    """Read the reason of a look from a form: one of those that are offered, or words of one's own.

    Raises:
        ReasonError: it is none.
    """
    why = request.form.get("why", "")
    return why if why in LOOK_REASONS else read_reason(request.form.get("other", ""))

"""Admins' reasons for viewing addresses: one that the form offers, or one of their own."""

from flask import request
from werkzeug.datastructures import MultiDict

from digest.web.forms import ReasonForm, read_form
from subscribers.pages.forms import FormError


def read_address_access_reason() -> str:
    """Return the reason for viewing addresses from the form.

    Raises:
        FormError: the reason is missing or invalid.
    """
    other = request.form.get("other", "")
    why = request.form.get("why") or ("other" if other else "")
    if not why:
        raise FormError({"why": "Choose a reason."})
    try:
        return read_form(ReasonForm, MultiDict({"reason": other if why == "other" else why})).reason
    except FormError as exc:
        raise FormError({"other": exc.problems["reason"]}) from None

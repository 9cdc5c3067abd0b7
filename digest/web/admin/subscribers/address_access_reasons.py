"""Why an admin has to see an address: one of the reasons that the form offers, or other words."""

from flask import request
from werkzeug.datastructures import MultiDict

from digest.web.forms import ReasonForm, read_form


def read_address_access_reason() -> str:
    """Read the reason from the form.

    Raises:
        FormError: it's none.
    """
    why = request.form.get("why", "other")
    reason = request.form.get("other", "") if why == "other" else why
    return read_form(ReasonForm, MultiDict({"reason": reason})).reason

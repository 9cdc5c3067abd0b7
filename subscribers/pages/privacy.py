"""The pages that a reader opens from a mail, put together, and the page that says what we hold and why.

The pages themselves stand in modules of their own; each adds its routes to the one blueprint, `readers`.
"""

from flask import current_app, render_template

from subscribers.address import mask_address
from subscribers.pages import contact, my_data, preferences, unsubscribe  # noqa: F401 - they add their routes
from subscribers.pages.context import PageContext, SiteDetails, page_context, reader_pages
from subscribers.pages.preferences import describe_preferences, read_preferences_form

__all__ = [
    "PageContext",
    "SiteDetails",
    "describe_preferences",
    "mask_address",
    "read_preferences_form",
    "reader_pages",
]


@reader_pages.get("/privacy")
def privacy() -> str:
    """Say what is held, why, for how long, and who receives it."""
    evidence_for = current_app.extensions["signup"].evidence_retention
    mails_for = page_context().delivery_retention
    return render_template("web/privacy.html", evidence_days=evidence_for.days, mail_days=mails_for.days)

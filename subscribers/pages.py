"""The pages that a reader opens from a mail, put together, and the page that says what we hold and why.

The pages themselves stand in modules of their own; each adds its routes to the one blueprint, `readers`.
"""

from flask import current_app, render_template

from subscribers import choosing_pages, contact_pages, data_pages, leaving_pages  # noqa: F401 - they add their routes
from subscribers.addresses import mask
from subscribers.choosing_pages import in_words, read_choices
from subscribers.reception import Reception, Site, readers, reception

__all__ = ["Reception", "Site", "in_words", "mask", "read_choices", "readers"]


@readers.get("/privacy")
def privacy() -> str:
    """Say what is held, why, for how long, and who receives it."""
    evidence_for = current_app.extensions["signup"].evidence_for
    mails_for = reception().mails_for
    return render_template("web/privacy.html", evidence_days=evidence_for.days, mail_days=mails_for.days)

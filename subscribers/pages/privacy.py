"""The page that says what is held of readers, and why."""

from flask import current_app, render_template

from subscribers.pages.context import current_page_context, reader_pages


@reader_pages.get("/privacy")
def privacy() -> str:
    """Show what is held, why, for how long, and who receives it."""
    evidence_retention = current_app.extensions["signup"].evidence_retention
    return render_template(
        "web/privacy.html",
        evidence_days=evidence_retention.days,
        mail_days=current_page_context().delivery_retention.days,
    )

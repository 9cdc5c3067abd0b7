"""The page that says what is held of readers, and why."""

from flask import render_template

from subscribers.pages.context import page_context, reader_pages


@reader_pages.get("/privacy")
def privacy() -> str:
    """Show what is held, why, for how long, and who receives it."""
    return render_template(
        "web/privacy.html",
        evidence_days=page_context.evidence_retention.days,
        mail_days=page_context.delivery_retention.days,
    )

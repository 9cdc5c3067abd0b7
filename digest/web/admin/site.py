"""The record of processing and the processors, for admins."""

from flask import render_template
from flask.typing import ResponseReturnValue

from digest.app.site.processing_record import view_processing_record
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor
from digest.web.context import web_context


@admin_pages.get("/processing")
def show_processing_record() -> ResponseReturnValue:
    """Show the record of processing, made from the settings as they are now."""
    context, now = web_context(), web_context().clock()
    record = view_processing_record(context.installation, current_actor(), now=now)
    return render_template("web/admin/site/processing.html", record=record, now=now)

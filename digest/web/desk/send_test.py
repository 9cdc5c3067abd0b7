"""The desk's page that sends a test of an edition to the staff; it adds its routes to the desk's."""

from flask import render_template
from flask.typing import ResponseReturnValue

from digest.app import page_views, sending
from digest.deliver.compose.personalisation import ComposeError
from digest.deliver.providers.registry import ProviderSettingsError
from digest.deliver.send.edition_run import SendError
from digest.deliver.send.staff_test import StaffTestReport
from digest.edition.approval import ApprovalError
from digest.web.context import web_context
from digest.web.desk.pages import DESK_ACTOR, desk_pages


@desk_pages.get("/editions/<name>/test")
def before_test(name: str) -> ResponseReturnValue:
    """Say to whom a test would go, with the button that sends it."""
    return _test_mail_page(name)


@desk_pages.post("/editions/<name>/test")
def submit_test_mail(name: str) -> ResponseReturnValue:
    """Send the edition as it stands to the staff, and show what came of it."""
    context = web_context()
    try:
        report = sending.send_test(context.installation, name, actor=DESK_ACTOR, clock=context.clock)
    except (ApprovalError, ComposeError, SendError, ProviderSettingsError) as exc:
        return _test_mail_page(name, error=str(exc)), 409
    return _test_mail_page(name, report=report)


def _test_mail_page(name: str, *, report: StaffTestReport | None = None, error: str = "") -> str:
    installation = web_context().installation
    row = page_views.read_edition(installation, name)
    members = sending.list_test_recipients(installation)
    return render_template("web/desk/test.html", edition=row, members=members, report=report, why=error)

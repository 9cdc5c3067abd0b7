"""The desk's page that sends a test of an edition to the staff; it adds its routes to the desk's."""

from flask import render_template
from flask.typing import ResponseReturnValue

from digest.app import sending
from digest.deliver.compose.personalisation import ComposeError
from digest.deliver.providers.registry import ProviderSettingsError
from digest.deliver.send.edition_run import SendError
from digest.deliver.send.staff_test import StaffTestReport
from digest.edition.approval import ApprovalError
from digest.store import staff
from digest.web.context import web_context
from digest.web.desk.pages import DESK_ACTOR, desk_pages, edition_or_404


@desk_pages.get("/editions/<name>/test")
def before_test(name: str) -> ResponseReturnValue:
    """Say to whom a test would go, with the button that sends it."""
    return _test_mail_page(name)


@desk_pages.post("/editions/<name>/test")
def submit_test_mail(name: str) -> ResponseReturnValue:
    """Send the edition as it stands to the staff, and show what came of it."""
    here = web_context()
    with here.database.read() as session:
        edition_or_404(session, name)
    try:
        report = sending.send_test(here.install, name, actor=DESK_ACTOR, clock=here.clock)
    except (ApprovalError, ComposeError, SendError, ProviderSettingsError) as exc:
        return _test_mail_page(name, error=str(exc)), 409
    return _test_mail_page(name, report=report)


def _test_mail_page(name: str, *, report: StaffTestReport | None = None, error: str = "") -> str:
    with web_context().database.read() as session:
        members = [member for member in staff.list_staff_members(session) if member.proven_at]
        return render_template(
            "web/desk/test.html", edition=edition_or_404(session, name), members=members, report=report, why=error
        )

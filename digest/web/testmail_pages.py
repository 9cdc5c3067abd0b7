"""The desk's page that sends a test of an edition to the staff; it adds its routes to the desk's."""

from flask import render_template
from flask.typing import ResponseReturnValue

from digest import staff, weekly
from digest.deliver.personalising import LetterError
from digest.deliver.sending import SendError
from digest.deliver.testmail import Report
from digest.deliver.transports import TransportError
from digest.edition.approval import ApprovalError
from digest.web.desk import ACTOR, desk, named
from digest.web.ground import ground


@desk.get("/editions/<name>/test")
def before_test(name: str) -> ResponseReturnValue:
    """Say to whom a test would go, with the button that sends it."""
    return _page(name)


@desk.post("/editions/<name>/test")
def send_test(name: str) -> ResponseReturnValue:
    """Send the edition as it stands to the staff, and show what came of it."""
    here = ground()
    with here.database.read() as session:
        named(session, name)
    try:
        report = weekly.send_test(here.install, name, actor=ACTOR, clock=here.clock)
    except (ApprovalError, LetterError, SendError, TransportError) as exc:
        return _page(name, why=str(exc)), 409
    return _page(name, report=report)


def _page(name: str, *, report: Report | None = None, why: str = "") -> str:
    with ground().database.read() as session:
        members = [member for member in staff.listed(session) if member.proven_at]
        return render_template(
            "web/desk/test.html", edition=named(session, name), members=members, report=report, why=why
        )

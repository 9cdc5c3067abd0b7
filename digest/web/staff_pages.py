"""The page behind the link that a new member of the staff is mailed: one button, which proves the address.

The token in the path is all that it asks for, as with readers' pages: no cookie, no sign-in. A GET changes nothing.
"""

from flask import Blueprint, Response, render_template

from digest import staff
from digest.staff import Link, Stage
from digest.web.ground import ground
from subscribers.addresses import mask
from subscribers.reception import private, unknown_link

staff_pages = Blueprint("staff", __name__)


@staff_pages.get("/staff/<token>")
def ask(token: str) -> Response:
    """Show whose address would be proven, and the button."""
    here = ground()
    with here.database.read() as session:
        return _page(staff.look(session, token, now=here.clock()))


@staff_pages.post("/staff/<token>")
def prove(token: str) -> Response:
    """Take the press of the button."""
    here = ground()
    with here.database.write() as session:
        link = staff.prove(session, token, now=here.clock())
    return _page(link)


def _page(link: Link) -> Response:
    if link.member is None:
        return unknown_link()
    page = render_template(
        "web/staff_link.html", link=link, member=link.member, masked=mask(link.member.email)
    )
    return private(page, 410 if link.stage is Stage.OVER else 200)

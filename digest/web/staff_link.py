"""The page behind the link that a new member of the staff is mailed: one button, which proves the address.

The token in the path is all that it asks for, as with readers' pages: no cookie, no sign-in. A GET changes nothing.
"""

from flask import Blueprint, Response, render_template

from digest.app import staff
from digest.store.staff import ProofLink, ProofLinkStage
from digest.web.context import web_context
from subscribers.pages.context import private_response, unknown_link_page

staff_link_pages = Blueprint("staff", __name__)


@staff_link_pages.get("/staff/<token>")
def show_proof_link(token: str) -> Response:
    """Show whose address would be proven, and the button."""
    context = web_context()
    return _proof_link_page(staff.look_up_proof_link(context.installation, token, now=context.clock()))


@staff_link_pages.post("/staff/<token>")
def submit_proof(token: str) -> Response:
    """Prove the address."""
    context = web_context()
    return _proof_link_page(staff.prove_staff_address(context.installation, token, now=context.clock()))


def _proof_link_page(link: ProofLink) -> Response:
    if link.member is None:
        return unknown_link_page()
    page = render_template("web/staff_link.html", link=link, member=link.member, masked=link.masked_email)
    return private_response(page, 410 if link.stage is ProofLinkStage.ENDED else 200)

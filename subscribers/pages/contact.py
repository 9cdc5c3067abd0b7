"""The privacy page, and the contact form for sending messages to the editors.

The form contains a message and an optional address for the reply, and has the same protections as
the sign-up form.
"""

import secrets
import unicodedata
from typing import Annotated

from flask import Response, render_template, request
from pydantic import AfterValidator, Field
from sqlalchemy.orm import Session

from subscribers.consent.preferences import describe_preference_options
from subscribers.mail_requests import MailRequest
from subscribers.pages.context import (
    OptionalAddress,
    ask_again_if_trapped,
    make_private_response,
    page_context,
    render_page,
    render_refused_form_page,
    subscriber_pages,
)
from subscribers.pages.forms import FormError, FormModel, read_form
from subscribers.pages.signup import read_client_ip_address
from subscribers.signup.rate_limits import (
    NetworkHashes,
    SubmissionOutcome,
    check_contact_message,
    count_contact_message,
    hash_networks,
)

MAX_MESSAGE_LENGTH = 5000  # characters of a message
_ALLOWED_CONTROLS = {"\n", "\t"}


def _clean_message(text: str) -> str:
    """Return a message without control characters, or raise a ValueError with the text to display."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    message = "".join(c for c in lines if c in _ALLOWED_CONTROLS or unicodedata.category(c) not in {"Cc", "Cs"}).strip()
    language = page_context.language
    if not message:
        raise ValueError(language.gettext("Enter a message."))
    if len(message) > MAX_MESSAGE_LENGTH:
        words = language.ngettext(
            "The message is %(num)s character over the limit of %(most)s.",
            "The message is %(num)s characters over the limit of %(most)s.",
            len(message) - MAX_MESSAGE_LENGTH,
            most=language.format_number(MAX_MESSAGE_LENGTH),
        )
        raise ValueError(words)
    return message


class EditorMessage(FormModel):
    """A message to the editors.

    `email` is None if no reply is wanted.
    """

    message: Annotated[str, AfterValidator(_clean_message)] = Field(default="", validate_default=True, repr=False)
    email: OptionalAddress = Field(default=None, repr=False)

    @property
    def reply_to(self) -> str:
        """The address to reply to, or "" if no reply is wanted."""
        return self.email.mailbox if self.email else ""


@subscriber_pages.get("/contact")
def contact() -> Response:
    """Show the contact form."""
    return _contact_page(None)


@subscriber_pages.post("/contact")
def write_to_the_editors() -> Response:
    """Queue a message to the editors.

    It doesn't subscribe anyone, and isn't stored after it's sent.
    """
    if trapped := ask_again_if_trapped():
        return trapped
    try:
        line = read_form(EditorMessage, request.form)
    except FormError as exc:
        return _contact_page(exc)
    tags = hash_networks(page_context.keys, read_client_ip_address(page_context.trusted_proxies), page_context.now)
    # A rejected flood must not wait for the single writer.
    with page_context.database.read() as session:
        _, outcome = check_contact_message(session, tags, page_context.contact_quota, now=page_context.now)
    if outcome is SubmissionOutcome.ACCEPTED:
        with page_context.database.write() as session:
            outcome = _queue_message(session, tags, line)
    return _sent_page(line.reply_to) if outcome is SubmissionOutcome.ACCEPTED else render_refused_form_page(outcome)


def _queue_message(session: Session, tags: NetworkHashes, line: EditorMessage) -> SubmissionOutcome:
    """Count and queue a message if it's accepted."""
    now = page_context.now
    turn, outcome = check_contact_message(session, tags, page_context.contact_quota, now=now)
    if outcome is SubmissionOutcome.ACCEPTED:
        count_contact_message(session, tags, turn, now=now)
        facts = {"message": line.message, "reply": line.reply_to}
        page_context.queue(session, MailRequest("contact", None, secrets.token_hex(8), facts))
    return outcome


def _contact_page(problem: FormError | None) -> Response:
    entered = {"message": request.form.get("message", ""), "email": request.form.get("email", "")}
    page = render_template("web/contact.html", problem=problem, said=entered, longest=MAX_MESSAGE_LENGTH)
    return make_private_response(page, 400) if problem else Response(page, mimetype="text/html")


def _sent_page(reply_to: str) -> Response:
    return render_page("web/contact_sent.html", answered=bool(reply_to))


@subscriber_pages.get("/privacy")
def privacy() -> str:
    """Show what data is stored, why it's stored and for how long, and who receives it."""
    return render_template(
        "web/privacy.html",
        evidence_days=page_context.evidence_retention.days,
        mail_days=page_context.delivery_retention.days,
        choices=describe_preference_options(page_context.language, page_context.site.hidden_preferences),
    )

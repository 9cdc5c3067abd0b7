"""Code shared by subscribers' pages: their context, and common responses.

The token in the path is the only credential required by these pages. They set no cookies, so they
need no CSRF protection. Without the token, another site can't forge anything, and with it, that
site doesn't need the subscriber's browser.

Opening a page never changes anything, because scanners follow every link in an email.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, current_app, render_template, request
from pydantic import Field, PlainValidator
from sqlalchemy.orm import Session
from werkzeug.local import LocalProxy

from subscribers.address import MAX_ADDRESS_LENGTH, Address, AddressError, read_address
from subscribers.consent.consent_texts import ConsentText
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing
from subscribers.english_text import sentence
from subscribers.lifecycle.erasure import ErasureCallback
from subscribers.lifecycle.my_data import start_new_link_generation
from subscribers.loggers import get_logger
from subscribers.mail_requests import QueueMail
from subscribers.pages.forms import FormModel
from subscribers.pages.preferences_form import OfferedPreferences
from subscribers.signup.rate_limits import NetworkQuota, SignupLimits, SubmissionOutcome
from subscribers.store import people
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import Person, PersonState
from subscribers.subscriber_language import SubscriberLanguage, mark_message
from subscribers.transfer.exports import DataController
from subscribers.transfer.import_report import find_likely_domain

HONEYPOT_FIELD = "website"  # a hidden field that bots fill in
subscriber_pages = Blueprint("subscribers", __name__)
log = get_logger("pages")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDetails(OfferedPreferences):
    """The publication's details for its pages, and the recipients of addresses."""

    name: str
    tagline: str
    about: str
    home: str
    language: str
    direction: str
    zone: ZoneInfo
    reply_to: str
    postal_address: str
    section_contents: Mapping[str, str]  # by key
    recipients: tuple[str, ...]  # as sentences


@dataclass(frozen=True, slots=True)
class PageContext:
    """The context of the pages, which lasts as long as the application.

    Email is outside of this package, so functions for it are passed in. `queue` sends an email.
    `list_deliveries` lists a person's deliveries (one by one for `delivery_retention`, and then as
    totals), and `forget_deliveries` detaches them from an erased person. `describe_first_edition`
    describes the first edition that a new subscriber receives. `find_variant_limit` returns the
    maximum number of versions of an edition, or 0 if everyone received exactly the sections they
    chose in the last edition. `translate_recipient_description` translates a stored recipient.
    `release_days` are the weekdays of editions (Monday is 0), `wording` and
    `wording_with_breaking_news` are the consent texts, and `trusted_proxies` is the number of
    X-Forwarded-For entries from our own proxies.
    """

    site: SiteDetails
    language: SubscriberLanguage
    wording: ConsentText
    wording_with_breaking_news: ConsentText
    database: PeopleDatabase
    keys: KeyRing
    unsubscribe_log: UnsubscribeLog
    clock: Callable[[], datetime]
    queue: QueueMail
    list_deliveries: Callable[[Session, int, SubscriberLanguage], tuple[AddressDisclosure, ...]]
    delivery_retention: timedelta
    forget_deliveries: ErasureCallback
    controller: DataController
    base_url: str
    release_days: tuple[int, ...]
    signup_limits: SignupLimits
    contact_quota: NetworkQuota
    evidence_retention: timedelta
    trusted_proxies: int
    describe_first_edition: Callable[[Session, datetime], str]
    find_variant_limit: Callable[[Session], int]
    translate_recipient_description: Callable[[str], str]

    @property
    def now(self) -> datetime:
        """The time according to the application's clock."""
        return self.clock()

    def today(self) -> date:
        """Return the current day in the publication's time zone."""
        return self.clock().astimezone(self.site.zone).date()


def _read_typed_address(text: str) -> Address:
    language = page_context.language
    if not text.strip():
        raise ValueError(language.gettext("Enter your email address."))
    return _parse_typed_address(text, language.gettext("Check the address."))


def _read_optional_address(text: str) -> Address | None:
    advice = page_context.language.gettext("Check it, or leave it blank.")
    return _parse_typed_address(text, advice) if text.strip() else None


def _parse_typed_address(text: str, advice: str) -> Address:
    """Parse an address, or raise a ValueError with the text to display, which doesn't repeat the address."""
    language = page_context.language
    if len(text.strip()) > MAX_ADDRESS_LENGTH:
        words = language.ngettext(
            "This is too long for an email address (%(num)s character).",
            "This is too long for an email address (%(num)s characters).",
            MAX_ADDRESS_LENGTH,
        )
        raise ValueError(words)
    try:
        return read_address(text)
    except AddressError as exc:
        raise ValueError(f"{sentence(language.translate_text(str(exc)))} {advice}") from None


TypedAddress = Annotated[Address, PlainValidator(_read_typed_address)]
OptionalAddress = Annotated[Address | None, PlainValidator(_read_optional_address)]


class AddressForm(FormModel):
    """A form with an address and, for sign-ups, the version of the consent text and the form's location."""

    email: TypedAddress = Field(default="", validate_default=True, repr=False)
    wording: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A link from an email: its owner, the generation of the owner's links, and the token."""

    number: int
    generation: int
    token: str
    purpose: link_tokens.LinkPurpose


# Like Flask's `current_app`, this is the context of the application that handles the request.
page_context: PageContext = LocalProxy(lambda: current_app.extensions["subscribers"])  # type: ignore[assignment]


def add_return_to_unsubscribe_log(departure: PendingUnsubscribeLogEntry | None, problem: str) -> None:
    """Record in the unsubscribe log, after the commit, that someone has resubscribed.

    If writing fails, `problem` is logged.
    """
    page_context.unsubscribe_log.append_after_commit(departure, problem=problem, at=page_context.now)


def is_subscribed(person: Person | None) -> bool:
    """Return True if a person exists, is subscribed, and has an address."""
    return person is not None and person.state == PersonState.SUBSCRIBED and person.ciphertext is not None


def read_link_owner(
    token: str, purpose: link_tokens.LinkPurpose, test_purpose: link_tokens.LinkPurpose, page_description: str
) -> OpenedLink:
    """Return a link with its owner, or abort the request if it has no owner.

    A link in a test email gets a page that says so. All other links without an owner get the same page.
    """
    keys = page_context.keys
    owner = link_tokens.read_link_token(keys, token, purpose)
    if owner is None:
        if link_tokens.read_link_token(keys, token, test_purpose) is not None:
            abort(render_page("web/test_mail.html", what=page_description))
        abort(render_unknown_link_page())
    return OpenedLink(owner.number, owner.generation, token, purpose)


def is_outdated_link(session: Session, link: OpenedLink, person: Person | None) -> bool:
    """Return True if a link may be used only to unsubscribe.

    In that case, its owner has renewed their links, or it wasn't emailed to their current address.
    """
    if person is None or link.generation != person.link_generation:
        return person is not None
    if person.ciphertext is None:
        return False
    keys, address = page_context.keys, people.read_address_matching_commitment(session, page_context.keys, person)
    return address is None or not link_tokens.was_made_for_address(keys, link.token, link.purpose, address.mailbox)


def renew_links_and_make_link_token(session: Session, number: int) -> str:
    """Renew the links in a person's emails, and return the token of the new link to their preferences."""
    start_new_link_generation(session, number, now=page_context.now, method="link mailed to the owner")
    return make_preferences_token(session, number)


def make_preferences_token(session: Session, number: int) -> str:
    """Return the token that a person's next email will use in the link to their preferences."""
    keys, person = page_context.keys, session.get_one(Person, number)
    address = people.read_address_matching_commitment(session, keys, person)
    mailbox = address.mailbox if address else ""
    return link_tokens.make_link_token(keys, number, "preferences", person.link_generation, address=mailbox)


def render_outdated_link_page(link: OpenedLink) -> Response:
    """Return the page for an outdated link.

    It only offers to unsubscribe, with a link that can't do more.
    """
    leave_token = link_tokens.make_link_token(page_context.keys, link.number, "leave", link.generation, address="")
    return render_page("web/outdated_link.html", 410, leave_token=leave_token)


def render_unknown_link_page() -> Response:
    """Return the page for invalid links.

    It's the same for incomplete and forged links and for those of other pages.
    """
    return render_page("web/unknown_link.html", 404)


def build_domain_question(address: Address) -> str:
    """Return a question about an address's domain if it's probably mistyped, or "" if it isn't.

    It's asked once. When the form is submitted again, the domain is in its field `kept`.
    """
    meant = find_likely_domain(address.domain)
    if not meant or request.form.get("kept") == address.domain:
        return ""
    return page_context.language.gettext(
        "Did you mean %(domain)s? Correct your address, or select the button again if it’s right.", domain=meant
    )


def render_refused_form_page(outcome: SubmissionOutcome) -> Response:
    """Return a page saying why a form was rejected, and when to try again."""
    in_all = outcome is SubmissionOutcome.TOTAL_LIMIT_REACHED
    response = render_page("web/too_many.html", 503 if in_all else 429, outcome=outcome.name)
    response.headers["Retry-After"] = "86400" if outcome is SubmissionOutcome.DOMAIN_LIMIT_REACHED else "3600"
    return response


def ask_again_if_trapped() -> Response | None:
    """Return a page asking to submit the form again if its hidden field is filled in, or None if it isn't.

    A browser may have filled it in, or the style of a page may have made it visible. The page keeps
    the other fields.
    """
    if not request.form.get(HONEYPOT_FIELD):
        return None
    fields = [(name, value) for name, value in request.form.items(multi=True) if name != HONEYPOT_FIELD]
    return render_page("web/ask_again.html", fields=fields)


def render_page(template: str, status: int = 200, **values: object) -> Response:
    """Render a page that must not be stored or indexed."""
    return make_private_response(render_template(template, **values), status)


def make_private_response(html: str, status: int = 200) -> Response:
    """Return a response for one subscriber, with headers that prevent caching and indexing."""
    response = Response(html, status, mimetype="text/html")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


ERROR_TEXTS = {
    400: (mark_message("We couldn’t read this request"), mark_message("Go back and try again.")),
    404: (
        mark_message("Page not found"),
        mark_message("The URL may be mistyped or incomplete, or the edition isn’t out yet."),
    ),
    405: (mark_message("This page can’t do that"), mark_message("Start again from the list of editions.")),
    413: (
        mark_message("That’s too long"),
        mark_message("The form is over our size limit. Shorten your text and send it again."),
    ),
    500: (mark_message("Something went wrong on our end"), mark_message("Try again in a few minutes.")),
}
OTHER_ERROR_ADVICE = mark_message("Start again from the list of editions.")

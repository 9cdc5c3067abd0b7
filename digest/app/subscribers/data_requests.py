"""Answers to data requests: an emailed link, or a file."""

import json
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from digest.app.subscribers.list_transfers import map_topic_names
from digest.app.subscribers.subscriber_actions import AN_ADDRESS, STAFF_RECIPIENT, find_person_row
from digest.deliver.providers.registry import describe_address_recipients
from digest.deliver.retention.delivery_disclosures import list_delivery_disclosures
from digest.edition.part_titles import list_part_titles
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from digest.settings import Settings
from digest.templating import create_jinja_environment
from subscribers.address import Address
from subscribers.consent import disclosures, readable_record
from subscribers.consent.readable_record import PublicationFacts
from subscribers.lifecycle import my_data
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage, mark_message
from subscribers.transfer.exports import (
    DataController,
    build_person_record,
    build_portable_copy,
    convert_disclosure_to_json,
)

SHOW = Action("subscriber shown")
DATA_REQUEST_REASON = mark_message("to answer your request for your data")
MAIL_DATA_LINK = Action("data link mailed")

# The formats are a printable answer (GDPR, Article 15), the full record (ISO/IEC TS 27560), and
# portable copies as CSV and JSON (Article 20).
AnswerForm = Literal["html", "json", "csv", "portable"]
_ANSWER_NAMES: dict[AnswerForm, str] = {
    "html": "answer to print",
    "json": "complete record as JSON",
    "csv": "portable copy as CSV",
    "portable": "portable copy as JSON",
}


def create_data_answer(
    installation: Installation,
    actor: Actor,
    whom: Address | int,
    form: AnswerForm,
    reason: str,
    *,
    reference: str = "",
    now: datetime,
) -> str:
    """Return a file that answers a person's request for their data.

    It's recorded as a disclosure that the person can see. `whom` is the person's address or number.
    `reference` is the sign-in of the member who requests the file.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownPersonError: no subscriber has this address or number.
    """
    settings, keys = installation.settings, installation.keys
    with SHOW.transaction(installation, actor, AN_ADDRESS, now=now) as (session, draft):
        number = find_person_row(session, keys, whom).number
        name = _ANSWER_NAMES[form]
        draft.subject, draft.detail = f"person {number}", {"why": reason, "file": name}
        # The sign-in alone would count as revealing the address, and pages would then show it.
        file_reference = ", ".join(filter(None, (reference, name)))
        disclosures.record_disclosures(
            session, [number], to_whom=STAFF_RECIPIENT, why=reason, reference=file_reference, now=now
        )
        if form in {"csv", "portable"}:
            file_format: Literal["csv", "json"] = "csv" if form == "csv" else "json"
            return build_portable_copy(session, keys, number, file_format, map_topic_names(installation))
        language = settings.subscriber_language if form == "html" else ENGLISH
        record = _build_record(session, installation, number, language, now)
    if form == "html":
        return _render_record_page(settings, record, now.astimezone(settings.zone).date())
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _build_record(
    session: Session, installation: Installation, number: int, language: SubscriberLanguage, now: datetime
) -> dict[str, Any]:
    settings = installation.settings
    publication, sender = settings.file.publication, settings.file.sender
    deliveries = list_delivery_disclosures(session, number, settings, language)
    record = build_person_record(
        session,
        installation.keys,
        number,
        controller=DataController(publication.name, sender.reply_to, sender.postal_address, publication.site),
        now=now,
        other_disclosures=map(convert_disclosure_to_json, deliveries),
    )
    assert record is not None, "the person was found in this transaction"
    return record


def _render_record_page(settings: Settings, record: dict[str, Any], today: date) -> str:
    language = settings.subscriber_language
    facts = PublicationFacts(
        parts=list_part_titles(settings, language),
        today=today,
        recipients=describe_address_recipients(settings, language),
        evidence_days=settings.file.retention.evidence_days,
        mail_days=settings.file.retention.delivery_days,
        hidden_preferences=settings.file.preferences.hidden,
    )
    page = create_jinja_environment(settings.templates, language).get_template("web/record.html")
    return page.render(readable_record.build_record_context(record, facts, language))


def send_data_link(
    installation: Installation, actor: Actor, number: int, reason: str, *, now: datetime
) -> my_data.DataLinkOutcome:
    """Email a data link to a person who asked the team for their data, and return the outcome.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    with MAIL_DATA_LINK.transaction(installation, actor, f"person {number}", now=now) as (session, draft):
        queue = make_mail_queue(installation, now)
        outcome = my_data.request_data_link(session, number, queue, by_editor=True, now=now)
        draft.changed, draft.detail = outcome is my_data.DataLinkOutcome.QUEUED, {"why": reason}
        return outcome

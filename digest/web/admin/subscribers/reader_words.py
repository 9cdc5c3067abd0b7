"""Where readers stand, how they came and what came of their mails, in the words of the pages for admins."""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from digest.app.subscribers.reader_records import ConsentLink, ReaderRecord, SentMail
from digest.app.subscribers.readers import LastEdition
from digest.deliver.events.failure_causes import FailureCause
from digest.store.delivery_models import DeliveryState
from digest.web.filters import day_seen_from, hour_with_zone, short_day
from subscribers.consent.reader_list import ListedReader
from subscribers.store.models import ConsentKind, PersonState

STATE_WORDS: Mapping[PersonState, str] = {
    PersonState.SUBSCRIBED: "On the list",
    PersonState.REQUESTED: "Not confirmed",
    PersonState.UNVERIFIED: "Without evidence",
    PersonState.WITHDRAWN: "Left",
    PersonState.SUPPRESSED: "Never mailed",
    PersonState.ERASED: "Erased",
}
COUNT_WORDS: Mapping[PersonState, str] = {
    PersonState.REQUESTED: "not confirmed yet",
    PersonState.UNVERIFIED: "on a list without evidence",
    PersonState.WITHDRAWN: "left",
    PersonState.SUPPRESSED: "may never be mailed",
    PersonState.ERASED: "erased",
}


def describe_state(reader: ListedReader, now: datetime, zone: ZoneInfo) -> str:
    """Say where a reader stands: "On the list", "Paused until Dec 1"."""
    if reader.in_progress:
        return "Import not finished"
    if reader.state is PersonState.SUBSCRIBED and not reader.preferences.is_readable:
        return "Not mailed: their choices cannot be read"
    until = reader.preferences.pause_until
    today = now.astimezone(zone).date()
    if reader.state is PersonState.SUBSCRIBED and until and reader.preferences.is_paused(today):
        return f"Paused until {day_seen_from(until, today)}"
    return STATE_WORDS[reader.state]


def describe_origin(reader: ListedReader) -> str:
    """Say how a reader came: the place where they asked, or the import that brought them."""
    if reader.state is PersonState.ERASED:
        return "deleted with the person"
    return reader.asked_where if reader.batch is None else f"Import {reader.batch}: {reader.asked_where}"


def describe_last_edition(reader: ListedReader, last: LastEdition | None) -> str:
    """Say what came of the last edition for a reader: "No. 146, accepted"."""
    if reader.state is PersonState.ERASED:
        return "counts only"
    state: DeliveryState | None = last.states.get(reader.number) if last else None
    return "none" if last is None or state is None else f"No. {last.number}, {state}"


CAUSE_WORDS: Mapping[FailureCause, str] = {
    FailureCause.NO_MAILBOX: "no such mailbox",
    FailureCause.HARD: "the mailbox is probably gone",
    FailureCause.SOFT: "mailbox full, or no reason given",
    FailureCause.POLICY: "turned away by the rules of the receiver",
    FailureCause.OUR_FAULT: "our message or a setting of ours is wrong",
    FailureCause.COMPLAINED: "the provider holds a complaint",
    FailureCause.LEFT: "the provider holds that they left",
    FailureCause.NONE: "nothing that concerns the address",
}
_NOTICE_WORDS = {
    "confirm": "The question whether they want our mail",
    "remind": "A reminder of that question",
    "ask": "The one question to somebody whom a list named",
    "stay": "The question whether they still want the mail",
    "known": "That they are on the list already",
    "link": "The link to their choices",
    "welcome": "The receipt of their consent",
    "data": "The link to their data",
    "move": "The question whether a new address is theirs",
    "moving": "That their address is about to change",
    "choices": "That their choices changed",
    "leave": "The answer to a mail that asked to leave",
    "undo": "The link that takes their leaving back",
    "correction": "The correction of an edition that they got",
    "contact": "What somebody wrote by the contact form",
    "staff": "A member's invitation or link",
    "seal": "The nightly seal",
    "gone": "That articles of an edition are gone",
    "alarm": "That an edition paused itself",
    "alert": "That something needs somebody",
    "deadline": "That an edition is due",
    "guard": "That a control was weakened",
    "summary": "What was done with subscriber addresses",
    "test": "A test of an edition",
}
STAFF_NOTICES = frozenset(
    {"contact", "staff", "seal", "gone", "alarm", "alert", "deadline", "guard", "summary", "test"}
)
_CHAIN_WORDS: Mapping[ConsentKind, tuple[str, str]] = {
    ConsentKind.REQUESTED: ("Asked", "for the mail."),
    ConsentKind.CONFIRMED: ("Confirmed", "by their own word. From now on this address may be mailed."),
    ConsentKind.LISTED: ("Was named", "by a list that showed no evidence: this address may not be mailed."),
    ConsentKind.IMPORTED: ("Came", "with a list from another service, with evidence of their consent."),
    ConsentKind.ATTESTED: ("Was added", "by an admin, who vouches for their consent."),
    ConsentKind.WITHDRAWN: ("Left", "the list."),
    ConsentKind.UNDONE: ("Came back:", "they undid unsubscribing."),
    ConsentKind.RE_ASKED: ("Was asked", "whether they want the mail."),
    ConsentKind.ADDRESS_CHANGED: ("Moved", "to another address."),
    ConsentKind.CHOICES_CHANGED: ("Chose", "anew what they get, or how often."),
    ConsentKind.BOUNCED: ("A mail came back.", ""),
    ConsentKind.COMPLAINED: ("Complained:", "our mail was reported as unwanted."),
    ConsentKind.SUPPRESSED: ("Was stopped:", "this address is not mailed any more."),
    ConsentKind.ERASED: ("Was erased.", "The address is gone; a keyed hash keeps imports away."),
    ConsentKind.BOUND: ("Was bound", "to the address, so that nobody can put another in its place unnoticed."),
    ConsentKind.LINKS_RENEWED: ("Got new links:", "those in earlier emails unsubscribe, and do no more."),
    ConsentKind.EXPIRED: ("Ran out:", "nobody confirmed in time."),
}
_STATE_SENTENCES: Mapping[PersonState, str] = {
    PersonState.SUBSCRIBED: "is on the list",
    PersonState.REQUESTED: "asked for the mail and has not confirmed",
    PersonState.UNVERIFIED: "was named by a list without evidence, and is not mailed",
    PersonState.WITHDRAWN: "left the list",
    PersonState.SUPPRESSED: "may not be mailed any more",
    PersonState.ERASED: "is erased: the counts stay, and nothing that leads to the person",
}


ADMIN_METHOD = "admin: "  # what the method of a link begins with where an admin acted


def describe_standing(record: ReaderRecord) -> str:
    """Say where a person stands, as the end of a sentence that begins with them."""
    return "is part of an import that is not finished" if record.in_progress else _STATE_SENTENCES[record.state]


def describe_link(link: ConsentLink, names: Mapping[str, str], zone: ZoneInfo) -> tuple[str, str, str]:
    """Say what happened in one link of a consent chain: its first words, the rest of the sentence, and how it is known.

    `names` are those of the staff by actor.
    """
    first, rest = _CHAIN_WORDS[link.kind]
    fields = link.fields
    place, method, reason = (fields.get(name, "") for name in ("page", "method", "reason"))
    known = [f"Where: {place or fields['where']}." if place or fields.get("where") else ""]
    # What an admin said when they acted stands as the method of the link.
    own_words = method.removeprefix(ADMIN_METHOD) if method.startswith(ADMIN_METHOD) else ""
    if own_words:
        method, reason = "", f"by an admin: {own_words}"
    known.append(f"How: {method.rstrip('.')}." if method else "")
    known.append(f"Why: {reason.rstrip('.')}." if reason else "")
    known += [
        f"{label}: {_read_moment(fields[name], zone)}." for name, label in _MOMENT_WORDS.items() if name in fields
    ]
    known.append(_describe_words(link))
    known.append(_describe_actor(link, names))
    return first, rest, " ".join(filter(None, known))


_MOMENT_WORDS = {"requested_at": "Asked", "agreed_at": "Agreed", "left_at": "Left there"}


def _read_moment(text: str, zone: ZoneInfo) -> str:
    """Write a moment of a link in the publication's zone; what is none (the record may be damaged) stands as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{short_day(moment, zone)}, {hour_with_zone(moment, zone)}"


def _describe_words(link: ConsentLink) -> str:
    """Say to which words somebody agreed, or which they were shown; of what nobody recorded, that it is not recorded."""
    if link.words:
        label = "Agreed to, in these words" if link.is_consent else "The words shown"
        return f"{label}: “{link.words}” Wording {link.fields.get('wording_version', '')}."
    missing = link.fields.get("wording", "") if link.is_consent else ""
    return f"The words that they agreed to: {missing}." if missing else ""


def _describe_actor(link: ConsentLink, names: Mapping[str, str]) -> str:
    """Say who did it, where it was not the person: a colleague by name; and by which row of which import."""
    actor = link.fields.get("actor", "")
    who = names.get(actor, actor)
    if link.batch is not None:
        row = f"row {link.row:,} of " if link.row is not None else ""
        return f"By {row}import {link.batch}{f', brought in by {who}' if who else ''}."
    return f"By: {who}." if actor in names else ""


def describe_notice(kind: str) -> str:
    """Say what a mail that is no edition held."""
    return _NOTICE_WORDS.get(kind, f"A mail ({kind})")


def describe_result(mail: SentMail) -> str:
    """Say what came of a mail: "Accepted at try 2", "Refused: no such mailbox"."""
    later = [_EVENT_WORDS[kind] for kind, _ in mail.events if kind in _EVENT_WORDS]
    if mail.state is DeliveryState.REFUSED:
        return f"Refused: {CAUSE_WORDS[mail.cause]}"
    words = str(mail.state).capitalize()
    if mail.state is DeliveryState.ACCEPTED and mail.tries > 1:
        words = f"Accepted at try {mail.tries}"
    return ", ".join([words, *dict.fromkeys(later)])


_EVENT_WORDS = {"complained": "then reported as unwanted", "unsubscribed": "then left", "delivered": "delivered"}


def split_at_part(mailbox: str, part: str) -> tuple[str, str, str]:
    """Return an address as what stands before the part that was searched for, the part, and what follows."""
    at = mailbox.lower().find(part)
    return (mailbox, "", "") if at < 0 else (mailbox[:at], mailbox[at : at + len(part)], mailbox[at + len(part) :])

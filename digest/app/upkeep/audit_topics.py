"""What the acts in the audit log are about, and how a sentence says them. Pure: the texts of a row in, words out."""

import json
from collections.abc import Mapping

REFUSED = "refused"
NO_SUBJECT = "."
UNREADABLE = "unreadable: somebody changed this row"
TOPICS: Mapping[str, str] = {
    "addresses": "Addresses seen or moved",
    "readers": "Readers",
    "approvals": "Approvals",
    "editions": "Editions and sending",
    "settings": "Settings and sources",
    "staff": "Staff and sign-ins",
    "keys": "Keys, backups, seals",
    REFUSED: "Refused or failed",
}
_REFUSED_PREFIX, _FAILED_PREFIX = "refused: ", "failed: "

# By topic: the act as the log has it, and what the actor did; {} is the subject.
_PHRASES_BY_TOPIC: Mapping[str, Mapping[str, str]] = {
    "addresses": {
        "subscriber address shown": "looked at the address of {}",
        "subscriber shown": "looked at all that is held of {}",
        "subscriber looked up": "looked {} up by the whole address",
        "addresses searched": "searched addresses by a part of them",
        "list exported": "exported the list",
        "list imported": "imported a list: {}",
        "import tried": "tried a list without writing: {}",
        "import abandoned": "took {} back",
        "list uploaded": "uploaded a list: {}",
        "uploads listed": "looked at uploaded lists",
        "upload removed": "removed {}",
        "rejected rows taken": "took the rows that were left out of {}",
        "row outcomes taken": "took what every row of {} came to",
        "data link mailed": "mailed {} the link to their data",
        "suppressions pulled": "took over the suppressions of {}",
        "audit log exported": "exported the audit log",
    },
    "readers": {
        "subscriber added": "added {}",
        "subscriber record opened": "opened the record of {}",
        "readers listed": "looked at the list of readers",
        "people counted": "counted readers",
        "growth looked at": "looked at growth",
        "subscriber withdrawn": "took {} off the list",
        "subscriber erased": "erased {}",
        "address suppressed": "barred {}",
        "sign-up allowed": "let {} sign up again",
        "links renewed": "renewed the links of {}",
        "people re-asked": "asked people without evidence whether they want the mail",
        "silent readers asked": "asked silent readers whether they still want the mail",
        "erasure passed on": "passed {} on",
        "erasure not passed on": "could not pass {} on",
        "consents bound to addresses": "bound consents to their addresses",
    },
    "approvals": {
        "approve": "approved {}",
        "void approval": "took the approval of {} back",
        "reinstated an approval": "took an approval of {} up again",
        "sent back": "sent {} back",
        "sent-back note done": "marked a note on {} as done",
    },
    "editions": {
        "draft": "drafted {}",
        "edited": "edited {}",
        "test": "sent a test of {}",
        "send": "sent {}",
        "paused": "paused {}",
        "resumed": "let {} go on",
        "cancelled": "cancelled the rest of {}",
        "held": "held all mail",
        "released": "let mail leave again",
        "looked again": "looked at {} once more before it goes",
        "corrected": "corrected {}",
        "correction mailed": "emailed a correction of {}",  # before it took an approval
        "correction email requested": "requested the email of a correction of {}",
        "correction email approved": "approved the email of a correction of {}",
        "correction email refused": "refused to email a correction of {} that had changed",
        "alarm mailed": "mailed the alarm about {}",
        "collected": "collected articles",
        "pictures fetched": "fetched pictures for {}",
        "uncertain taken as accepted": "took uncertain mails of {} as arrived",
        "uncertain taken as lost": "took uncertain {} as lost",
        "uncertain sent again": "had uncertain mails of {} sent again",
        "uncertain settled by a log": "settled uncertain mails of {} by a log",
        "skipped release": "skipped the release {}",
        "moved release": "moved the release {}",
        "added release": "added the release {}",
        "restored release": "put the release {} back",
        "imported past editions": "imported past editions",
        "deliveries shown": "looked at deliveries",
        "clipboard": "changed their clipboard at {}",
        "inbound mail read": "read the mailbox of what comes back",
        "delivery counts do not balance": "found counts of {} that do not balance",
    },
    "settings": {
        "settings changed": "changed settings: {}",
        "settings looked at": "looked at the settings",
        "consent wordings listed": "looked at the wordings that readers agree to",
        "source added": "added the source {}",
        "source changed": "changed the source {}",
        "source removed": "removed the source {}",
        "sources looked at": "looked at the sources",
        "logo kept": "took the logo {}",
        "template copied": "copied a template: {}",
        "set up": "set up the {}",
        "upgraded": "upgraded the {}",
        "moved to another database": "moved the {} to another database",
        "installation examined": "looked at the health of {}",
        "alert tested": "sent a test to the webhook of alerts",
    },
    "staff": {
        "staff added": "invited {}",
        "staff removed": "removed {}",
        "unsealed staff row set aside": "set aside the row of {}, which had no valid seal",
        "staff listed": "looked at the staff",
        "acting as staff": "acted as somebody of the staff at {}",
        "letter keys switched": "switched single letters as keys on or off",
        "staff role changed": "changed the role of {}",
        "staff link mailed": "mailed {} the invitation again",
        "staff address proven": "proved their address",
        "sign-in link made": "made a sign-in link for {}",
        "staff signed out": "ended the sessions of {}",
        "sign-in reset": "reset how {} signs in",
        "signed in": "signed in",
        "sessions ended": "ended sessions of {}",
        "password or app set": "set the password or app of {}",
        "passkey added": "added a passkey of {}",
        "passkey renamed": "renamed a passkey of {}",
        "passkey removed": "removed a passkey of {}",
        "recovery codes made": "made recovery codes for {}",
        "name changed": "changed the name of {}",
    },
    "keys": {
        "audit log shown": "looked at this log",
        "audit log checked": "checked this log",
        "record of processing shown": "looked at the record of processing",
        "ledger verified": "verified the ledger",
        "keys listed": "listed the keys",
        "backups looked at": "looked at the backups",
        "backed up": "made a backup",
        "restored": "restored a backup",
        "key rotated": "rotated the key {}",
        "keys restored": "restored the keys",
        "keys protected": "put the keys under a passphrase",
        "keys unprotected": "took the passphrase from the keys",
        "ledger sealed": "sealed the ledger and this log",
        "ledger broken": "found that the ledger or this log does not hold",
        "seal mailed": "mailed the seal to the admins",
    },
}
_TOPIC_OF_ACT = {act: topic for topic, phrases in _PHRASES_BY_TOPIC.items() for act in phrases}
_PHRASES = {act: phrase for phrases in _PHRASES_BY_TOPIC.values() for act, phrase in phrases.items()}
_HIDDEN_DETAIL = frozenset({"why", "because", "root", "seal", "people", "message"})


def list_acts_by_topic() -> Mapping[str, tuple[tuple[str, str], ...]]:
    """List the acts of each topic with what the actor did, "…" for the subject, in alphabetical order of the words."""
    return {
        topic: tuple(
            sorted(((act, phrase.replace("{}", "…")) for act, phrase in phrases.items()), key=lambda pair: pair[1])
        )
        for topic, phrases in _PHRASES_BY_TOPIC.items()
    }


def is_known_act(act: str) -> bool:
    """Say whether the log may have an act of this name."""
    return act in _PHRASES


def belongs_to(act: str, topic: str) -> bool:
    """Say whether an act is of a topic: what was refused or failed is of its own topic and of the one that it was tried in."""
    tried = act.removeprefix(_REFUSED_PREFIX).removeprefix(_FAILED_PREFIX)
    if topic == REFUSED:
        return tried != act
    return _TOPIC_OF_ACT.get(tried) == topic


def is_act(act: str, wanted: str) -> bool:
    """Say whether an act is the one that is wanted, also where it was refused or failed."""
    return wanted in (act, act.removeprefix(_REFUSED_PREFIX).removeprefix(_FAILED_PREFIX))


def describe_act(act: str) -> tuple[str, str, str]:
    """Return how an act failed ("", "Refused" or "Failed"), and what stands before and after its subject.

    Where the sentence does not name the subject, what stands after it is "." and the subject is left out.
    """
    failed = "Refused" if act.startswith(_REFUSED_PREFIX) else "Failed" if act.startswith(_FAILED_PREFIX) else ""
    tried = act.removeprefix(_REFUSED_PREFIX).removeprefix(_FAILED_PREFIX)
    phrase = _PHRASES.get(tried, f"{tried}: {{}}")
    before, subject, after = (f"tried “{tried}”: {{}}" if failed else phrase).partition("{}")
    return failed, before, after if subject else NO_SUBJECT


def describe_actor(actor: str, names: Mapping[str, str]) -> str:
    """Name who acted: a member of the staff by name, the timetable, who sat at a terminal."""
    if actor in names:
        return names[actor]
    if actor.startswith("terminal:"):
        return f"{actor.removeprefix('terminal:')} at a terminal"
    return {"scheduler": "The timetable", "digest": "An alarm", "upgrade": "An upgrade"}.get(actor, actor)


def describe_subject(subject: str, names: Mapping[str, str]) -> str:
    """Name what was acted on: "reader 8,214", a colleague by name."""
    kind, _, number = subject.partition(" ")
    if kind == "person" and number.isdigit():
        return f"reader {int(number):,}"
    return names.get(subject, subject)


def read_subject(text: str) -> str:
    """Return the subject that somebody typed as the log has it: "reader 8,214" is `person 8214`."""
    subject = " ".join(text.split())
    kind, _, number = subject.lower().partition(" ")
    if kind in {"reader", "person"} and number.replace(",", "").isdigit():
        return f"person {int(number.replace(',', ''))}"
    return subject


def describe_detail(detail: object) -> tuple[str, str]:
    """Return the reason that was given, and what else the row says, in one line each; of a damaged row that it is one."""
    if not isinstance(detail, Mapping):
        return "", UNREADABLE
    reason = detail.get("why") or detail.get("because") or ""
    message = detail.get("message", "")
    rest = [str(message)] if message else []
    rest += [
        f"{name}: {_write_value(value)}"
        for name, value in detail.items()
        if name not in _HIDDEN_DETAIL and value not in ({}, [], "") and not (message and name == "error")
    ]
    return str(reason), ", ".join(rest)


def _write_value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{count:,} {name}" if isinstance(count, int) else f"{name} {count}"
            for name, count in value.items()
            if count
        )
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

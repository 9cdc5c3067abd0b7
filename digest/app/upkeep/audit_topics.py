"""The topics of actions in the audit log, and their wording."""

import calendar
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from digest.installation.action_words import find_action_words, load_actions_by_topic, split_audit_phrase_at_subject
from digest.settings import SECTION_FIELD_TITLES, SOURCE_FIELD_TITLES
from digest.settings.misspelled_names import find_table
from digest.store.staff import name_member_number
from digest.timetable import parse_schedule_rule
from subscribers.english_text import capitalize_first, clock_time, count_with_noun, join_words
from subscribers.import_names import PLAIN_LIST

REFUSED = "refused"
UNREADABLE = "unreadable because this row was changed"
TOPICS: Mapping[str, str] = {
    "addresses": "Access to addresses",
    "subscribers": "Subscribers",
    "approvals": "Approvals",
    "editions": "Editions and sending",
    "settings": "Settings and sources",
    "staff": "Team and sign-ins",
    "keys": "Keys, backups, and integrity",
    REFUSED: "Denied or failed",
}
_MAX_DIGITS = 10  # in the number of a row
_REFUSED_PREFIX, _FAILED_PREFIX = "refused: ", "failed: "

_EDITION_NAME = re.compile(r"\d{4}-W\d\d(-\d+)?")
_UPLOAD_NAME = re.compile(r"upload [0-9a-f]+")

# The verbs with which the wordings of actions that can be refused begin, with their infinitives.
_VERBS = (
    "acknowledged:acknowledge added:add adopted:adopt approved:approve asked:ask canceled:cancel changed:change "
    "checked:check chose:choose collected:collect copied:copy corrected:correct counted:count downloaded:download "
    "drafted:draft dropped:drop edited:edit emailed:email ended:end erased:erase exported:export fetched:fetch "
    "imported:import invited:invite listed:list looked:look made:make marked:mark moved:move opened:open paused:pause "
    "protected:protect read:read removed:remove renamed:rename renewed:renew requested:request resent:resend "
    "reset:reset resolved:resolve restored:restore resumed:resume revoked:revoke rotated:rotate sealed:seal "
    "searched:search sent:send set:set skipped:skip started:start suppressed:suppress turned:turn undid:undo "
    "unsubscribed:unsubscribe updated:update uploaded:upload verified:verify viewed:view withdrew:withdraw"
)
INFINITIVES: Mapping[str, str] = dict(verb.split(":") for verb in _VERBS.split())
MAX_LISTED_PEOPLE = 20  # in the details of an action
_TIME_UNITS = ((3600, "hour"), (60, "minute"), (1, "second"))
_HIDDEN_DETAIL = frozenset({"why", "because", "root", "seal", "people", "message", "mark", "columns"})
# Clearer words for names in the details of actions.
_DETAIL_NAMES: Mapping[str, str] = {
    "origin": "service",
    "known": "already subscribed",
    "unverified": "without evidence of consent",
    "left or suppressed": "unsubscribed or suppressed here",
    "departures": "unsubscribed there",
    "subscribers unsubscribed": "subscribed here until then",
    "confirmed without a network address": "confirmed without an IP address",
    "duplicates": "duplicate",
    "rejected": "skipped",
    "stay": "kept",
    "preferences": "earlier preferences restored",
    "leave_out_slips": "skip likely typos in domains",
    "attest_reason": "reason for vouching",
    "gone": "articles gone",
    "alone": "approved by the only editor",
    "app": "authenticator app set",
    "by": "through",
    "handed over": "sent to the mail server",
    "kind": "kind of edit",
    "made": "key added",
    "missing": "signatures missing",
    "most": "at most",
    "moved": "rows moved",
    "needed": "needed",
    "new": "new articles",
    "online": "with network checks",
    "ours": "matching subscribers",
    "said": "result",
    "seq": "edit",
    "sessions": "sessions ended",
    "stuck": "rows that couldn't be moved",
    "takes off": "unsubscribed without an answer",
    "tries": "attempts",
    "trouble": "problem",
}


def list_actions_by_topic(logged: Collection[str]) -> Mapping[str, tuple[tuple[str, str], ...]]:
    """Return the actions of each topic that are in the log, with their wording, sorted by wording.

    In the wording, "…" stands for the subject.
    """
    logged_names = {_find_base_action(act) for act in logged}
    return {
        topic: tuple(
            sorted(
                (
                    (name, "…".join(split_audit_phrase_at_subject(action.words)))
                    for name, action in actions.items()
                    if name in logged_names
                ),
                key=lambda pair: pair[1],
            )
        )
        for topic, actions in load_actions_by_topic().items()
    }


def _find_base_action(act: str) -> str:
    """Return the action that a refused or failed one attempted, or else the action itself."""
    return act.removeprefix(_REFUSED_PREFIX).removeprefix(_FAILED_PREFIX)


def is_known_action(act: str) -> bool:
    """Return True if the log may contain an action of this name."""
    return bool(find_action_words(act))


def is_action_in_topic(act: str, topic: str) -> bool:
    """Return True if an action belongs to a topic.

    A refused or failed action belongs both to the topic of such actions and to the topic of the
    action that was attempted.
    """
    base_action = _find_base_action(act)
    if topic == REFUSED:
        return base_action != act
    return base_action in load_actions_by_topic()[topic]


def is_matching_action(act: str, action_name: str) -> bool:
    """Return True if an action is the named one, or a refused or failed attempt at it."""
    return action_name in (act, _find_base_action(act))


def describe_action(act: str) -> tuple[bool, list[str]]:
    """Return whether an action was refused or failed, and its wording before and after its subject."""
    is_refused, is_failed = act.startswith(_REFUSED_PREFIX), act.startswith(_FAILED_PREFIX)
    base_action = _find_base_action(act)
    words = find_action_words(base_action)
    if is_refused or is_failed:
        past, _, rest = words.partition(" ")
        attempt = f"{INFINITIVES[past]} {rest}" if past in INFINITIVES else f"do “{base_action}”: {{}}"
        words = f"tried to {attempt}, but {'it was refused' if is_refused else 'it failed'}"
    return is_refused or is_failed, split_audit_phrase_at_subject(words or f"{base_action}: {{}}")


def describe_subject(subject: str, names: Mapping[str, str]) -> str:
    """Return a description of an action's subject.

    Examples are "subscriber 8,214", "edition 2026-W47", a colleague's name, and the title of a settings page.
    """
    kind, _, number = subject.partition(" ")
    if kind == "person" and _is_row_number(number):
        return f"subscriber {int(number):,}"
    if _EDITION_NAME.fullmatch(subject):
        return f"edition {subject}"
    if _UPLOAD_NAME.fullmatch(subject):
        return "an uploaded file"
    return names.get(subject) or _find_table_title(subject) or name_member_number(subject)


def _find_table_title(name: str) -> str:
    """Return the title of a settings table's page, or an empty string if there's no such page."""
    model = find_table((name,))
    return str(model.model_config.get("title", "")) if model else ""


def parse_subject(text: str) -> str:
    """Return a typed subject as the log stores it.

    For example, "subscriber 8,214" and "8214" both become `person 8214`, and "team member 3" becomes `staff 3`.
    """
    subject = " ".join(text.split())
    kind, _, last = subject.lower().rpartition(" ")
    number = last.replace(",", "")
    if kind in {"", "subscriber", "reader", "person", "team member"} and _is_row_number(number):
        return f"{'staff' if kind == 'team member' else 'person'} {int(number)}"
    return subject


def _is_row_number(text: str) -> bool:
    """Return True if a text consists of ASCII digits that `int` accepts.

    "²" and thousands of digits aren't accepted.
    """
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def describe_detail(detail: object, subject: str = "") -> tuple[str, str]:
    """Return the reason and the other details of a row about a subject, each on one line.

    If the row is damaged, the details are a note about that.
    """
    if not isinstance(detail, Mapping):
        return "", UNREADABLE
    reason = detail.get("why") or detail.get("because") or ""
    message = detail.get("message", "")
    detail_lines = [str(message)] if message else []
    before, after = detail.get("before"), detail.get("after")
    hidden = {"error"} if message else set[str]()
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        detail_lines += [change.words for change in list_value_changes(before, after, subject)]
        hidden |= {"before", "after"}
    detail_lines += [
        f"{_name_detail(name)}: {'unknown' if value == PLAIN_LIST else _write_value(value)}"
        for name, value in detail.items()
        if name not in _HIDDEN_DETAIL | hidden and value not in ({}, [], "") and (name, value) != ("sessions", 0)
    ]
    if isinstance(people := detail.get("people"), list) and people:  # otherwise, it's a count
        detail_lines.append(_name_people(people))
    return str(reason), capitalize_first(", ".join(detail_lines))


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A changed value: its label, and what it was and is, as texts.

    For a section that was added or removed, one of the texts is empty.
    """

    label: str
    old: str
    new: str

    @property
    def words(self) -> str:
        """The change on one line, such as "Tagline: not set → All the news"."""
        return f"{self.label}: {' → '.join(filter(None, (self.old, self.new)))}"


def list_value_changes(before: Mapping[str, Any], after: Mapping[str, Any], table: str = "") -> list[ValueChange]:
    """Return the values that differ between two states of a thing.

    If it's the settings table named `table`, or a source, values have the titles that they have on its page.
    """
    names = [*after, *(name for name in before if name not in after)]
    if table == "sections":
        return [change for name in names for change in _list_section_changes(before.get(name), after.get(name))]
    model = find_table((table,))
    fields = model.model_fields if model else {}
    changes: list[ValueChange] = []
    for name in names:
        field = fields.get(name)
        label = (field.title if field else "") or SOURCE_FIELD_TITLES.get(name, name)
        extra: Any = (field.json_schema_extra if field else None) or {}
        old, new = ({name: _name_choice(side.get(name), extra.get("choices", {}))} for side in (before, after))
        changes += _list_changed_texts({name: label}, old, new, extra.get("empty") or "not set")
    return changes


def _name_choice(value: Any, choices: Mapping[Any, str]) -> Any:
    """Return the label of a value on its settings page, if it's one of several choices."""
    return choices.get(value, value) if isinstance(value, str | int) else value


def _list_section_changes(old: Any, new: Any) -> list[ValueChange]:
    """Return what changed in a section, or that it was added or removed."""
    old, new = (side if isinstance(side, Mapping) else {} for side in (old, new))
    title = (new or old).get("title", "")
    if not old or not new:
        return [ValueChange(f"Section “{title}”", "" if new else "removed", "added" if new else "")]
    labels = {name: f"{title}, {words}" for name, words in SECTION_FIELD_TITLES.items()}
    return _list_changed_texts(labels, old, new, "default")


def _list_changed_texts(
    labels: Mapping[str, str], before: Mapping[str, Any], after: Mapping[str, Any], missing: str
) -> list[ValueChange]:
    changes = [
        ValueChange(label, *(_write_setting(side.get(name)) or missing for side in (before, after)))
        for name, label in labels.items()
    ]
    return [change for change in changes if change.old != change.new]


def _name_detail(name: str) -> str:
    if name in _DETAIL_NAMES or name not in SOURCE_FIELD_TITLES:
        return _DETAIL_NAMES.get(name, name)
    return SOURCE_FIELD_TITLES[name].lower()


def _write_setting(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_write_value(each)}" for name, each in value.items())
    if isinstance(value, list):
        texts = [_write_setting(each) for each in value]
        return ("; " if any(", " in text for text in texts) else ", ").join(texts)
    if isinstance(value, str):
        return _describe_schedule_rule(value)
    return "" if value is None else _write_value(value)


def _name_people(numbers: Sequence[object]) -> str:
    """Return people's numbers, of which only the first are listed."""
    listed = [f"{number:,}" if isinstance(number, int) else str(number) for number in numbers[:MAX_LISTED_PEOPLE]]
    others = len(numbers) - len(listed)
    return f"subscribers: {join_words([*listed, f'{others:,} more'] if others else listed)}"


def _describe_schedule_rule(text: str) -> str:
    """Return a schedule rule in words, such as "Friday, 6:00 a.m." for "fri 06:00". Other texts stay as they are."""
    try:
        rule = parse_schedule_rule(text)
    except ValueError:
        return _write_value(text)
    if rule.period:
        seconds = int(rule.period.total_seconds())
        size, unit = next((size, unit) for size, unit in _TIME_UNITS if seconds % size == 0)
        return f"every {count_with_noun(seconds // size, unit)}"
    is_daily = len(rule.days) == len(calendar.day_name)
    days = "daily" if is_daily else join_words([calendar.day_name[day] for day in sorted(rule.days)])
    return f"{days}, {clock_time(rule.at)}"


def _write_value(value: object) -> str:
    if isinstance(value, Mapping):
        shown = ((_DETAIL_NAMES.get(name, name), each) for name, each in value.items() if name not in _HIDDEN_DETAIL)
        return ", ".join(_write_entry(name, each) for name, each in shown if each)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_write_value(each) for each in value)
    if isinstance(value, float):
        return f"{value:g}"
    return name_member_number(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_entry(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,} {name}"
    return name if value is True else f"{name} {_write_value(value)}"

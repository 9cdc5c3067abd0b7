"""What happened to an edition on its way out, in words: from its approval to its last mail, and who did it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from digest.app.sending.sending_view import SendingView
from digest.app.upkeep.audit_log import read_detail
from digest.deliver.control.edition_control import ALARM_ACTOR
from digest.web.colleagues import name_actor
from digest.web.filters import count_with_noun
from subscribers.phrases import sentence

_ACT_WORDS = {
    "approve": "{who} approved it, content hash {mark}",
    "void approval": "{who} took the approval back",
    "send": "A run ended: it handed over {many:,} messages",
    "alarm": "It paused itself",
    "paused": "{who} paused it",
    "resumed": "{who} let it go on",
    "cancelled": "{who} cancelled the rest",
    "held": "{who} stopped all mail",
    "released": "{who} let mail leave again",
    "looked again": "Every article was looked at again: {gone} gone, {unanswered} without an answer",
    "alarm mailed": "{staff} of the staff were mailed what rang",
    "uncertain": "{who} settled uncertain deliveries",
}


@dataclass(frozen=True, slots=True)
class HappeningRow:
    """One thing that happened to an edition, when, and what follows from it."""

    at: datetime
    words: str
    remark: str = ""
    is_alarm: bool = False


def list_happenings(view: SendingView, names: Mapping[str, str], now: datetime) -> Iterator[HappeningRow]:
    """List what happened, the newest first."""
    rows = [row for act in view.acts if (row := _tell_act(act.act, act.actor, act.at, read_detail(act) or {}, names))]
    edition = view.edition
    if edition.planned_at is not None:
        many = count_with_noun(edition.planned or 0, "reader")
        rows.append(
            HappeningRow(edition.planned_at, f"The list was closed with {many}.", "Who came later gets the next.")
        )
    if edition.canary_until is not None and edition.canary_until <= now:
        rows.append(HappeningRow(edition.canary_until, "The wait for the first readers ended."))
    if edition.sent_at is not None:
        rows.append(HappeningRow(edition.sent_at, "The last mail left."))
    yield from sorted(rows, key=lambda row: row.at, reverse=True)


def _tell_act(
    act: str, actor: str, at: datetime, detail: Mapping[str, object], names: Mapping[str, str]
) -> HappeningRow | None:
    key = "alarm" if (act, actor) == ("paused", ALARM_ACTOR) else act
    if act.startswith("uncertain "):
        key = "uncertain"
    if key not in _ACT_WORDS:
        return None
    because = str(detail.get("because", ""))
    words = _ACT_WORDS[key].format(
        who=name_actor(actor, names),
        mark=str(detail.get("mark", ""))[:7],
        many=detail.get("handed over", 0),
        staff=len(staff) if isinstance(staff := detail.get("staff"), list) else 0,
        gone=detail.get("gone", 0),
        unanswered=detail.get("no answer", 0),
    )
    return HappeningRow(at, sentence(f"{words}: {because}" if because else words), is_alarm=key in {"alarm", "held"})

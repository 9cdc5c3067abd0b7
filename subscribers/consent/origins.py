"""When and where a person asked, as their chain says it: the row's two columns repeat it, for queries and for what readers are told."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from subscribers.consent.ledger import SILENCE_ANSWER_METHOD
from subscribers.store.models import ConsentKind

MAX_WHERE_LENGTH = 200  # characters of a place that a person's row keeps
_IMPORT_KINDS = frozenset({ConsentKind.IMPORTED, ConsentKind.ATTESTED, ConsentKind.LISTED})
_SETTING_KINDS = _IMPORT_KINDS | {ConsentKind.REQUESTED, ConsentKind.CONFIRMED}


class Origin(NamedTuple):
    """When and where somebody asked. `at` is None where a link from before version 0.2 doesn't say it."""

    at: datetime | None
    where: str


def find_origin(links_from_last: Iterable[tuple[int, str, str, str]]) -> Origin | None:
    """Return what the last link that settles it says; None where none does. Pure.

    Links are given as (seq, kind, moment as stored, body), the last one first.
    """
    return next((origin for link in links_from_last if (origin := _read_origin(*link)) is not None), None)


def _read_origin(seq: int, kind: str, stored_at: str, body: str) -> Origin | None:
    if kind not in _SETTING_KINDS or (kind == ConsentKind.REQUESTED and seq != 1):
        return None  # a request changes nothing for somebody who's there already, until they confirm it
    try:
        said = json.loads(body)
        return _read_body(kind, stored_at, said) if isinstance(said, dict) else None
    except (ValueError, TypeError):
        return None


def _read_body(kind: str, stored_at: str, said: dict[str, Any]) -> Origin | None:
    if kind in _IMPORT_KINDS and "batch" in said:
        moment = said.get("asked_at") or said.get("agreed_at") or said.get("requested_at")
        if kind == ConsentKind.LISTED:
            moment = said.get("asked_at")
        elif moment is None:
            moment = f"{stored_at}+00:00"  # the list named no time: that of the import
        return Origin(_read_moment(moment), f"{said['page']} (imported)") if "page" in said else None
    if kind == ConsentKind.CONFIRMED and said.get("method") == SILENCE_ANSWER_METHOD:
        return None
    moment, where = said.get("asked_at"), said.get("where")
    if moment is None and where is None and kind != ConsentKind.REQUESTED:  # added by an admin's hand
        moment, where = said.get("agreed_at"), said.get("page")
    if moment is None or not isinstance(where, str):
        return None
    return Origin(_read_moment(moment), where[:MAX_WHERE_LENGTH])


def _read_moment(moment: str | None) -> datetime | None:
    return None if moment is None else datetime.fromisoformat(moment).astimezone(UTC)

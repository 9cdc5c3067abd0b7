"""Events in texts: when and where an announced event takes place.

Only texts with a kind of event ("workshop", "hearing") count, and only days in the title or after
announcing words ("will be held on", "When:"). As in `written_times`, all patterns are bounded.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from digest.collect.documents.deadlines import load_deadline_zone
from digest.collect.documents.parsed_document import noon_utc
from digest.collect.texts.written_times import WrittenClock, WrittenDay, is_ahead, read_clock_range, read_day_and_time

_EVENT_NOUN = re.compile(
    r"\b(?:webinars?|webcasts?|workshops?|conferences?|summits?|symposi(?:um|a)|forums?|seminars?|training|exercises?|"
    r"briefings?|meetings?|hearings?|markups?|town halls?|listening sessions?|roundtables?|expos?|industry days?|"
    r"tabletops?|boot ?camps?|courses?|open houses?|virtual events?|conventions?|hackathons?)\b",
    re.IGNORECASE,
)
_NOUN_REACH = 400  # number of characters at the beginning of a text that must contain the kind of event
_EVENT_CUE = re.compile(
    r"\b(?:(?P<label>when|(?:event |meeting |start )?dates?(?: and time| ?/ ?time)?)(?: ?: ?)"
    r"|(?:will|to) (?:be held|take place|meet|convene|hold|host|conduct|begin|start|open|gather)"
    r"|takes place|is scheduled|(?:is )?set for|scheduled for|join us|meets|kicks off)",
    re.IGNORECASE,
)
_BEFORE_TIME = re.compile(r"\b(?:[Oo]n|[Ff]rom|for|beginning|starting|at|of)\b ?|, ?|[:;]|\.(?= [A-Z]|$)")
_CUE_REACH = 120  # maximum characters from the announcing words to the day
_FILLER = re.compile(r"[ ,:()–—-]|(?:on|at|from|the|of|starting|beginning|and)(?![a-z0-9])", re.IGNORECASE)  # noqa: RUF001  dashes
_MAX_STEPS, _MAX_GAP_STEPS = 12, 8  # maximum words and punctuation marks before a day, and between the day and its time
_MAX_CUES = 100

_STATES = (
    r"Ala(?:\.|bama)|Alaska|Ariz(?:\.|ona)|Ark(?:\.|ansas)|Calif(?:\.|ornia)|Colo(?:\.|rado)|Conn(?:\.|ecticut)|Del(?:\.|aware)|"
    r"Fla\.|Florida|Ga\.|Georgia|Hawaii|Idaho|Ill(?:\.|inois)|Ind(?:\.|iana)|Iowa|Kan(?:\.|sas)|Ky\.|Kentucky|La\.|Louisiana|"
    r"Maine|Md\.|Maryland|Mass(?:\.|achusetts)|Mich(?:\.|igan)|Minn(?:\.|esota)|Miss(?:\.|issippi)|Mo\.|Missouri|Mont(?:\.|ana)|"
    r"Neb(?:\.|raska)|Nev(?:\.|ada)|N\.H\.|New Hampshire|N\.J\.|New Jersey|N\.M\.|New Mexico|N\.Y\.|New York|N\.C\.|"
    r"North Carolina|N\.D\.|North Dakota|Ohio|Okla(?:\.|homa)|Ore(?:\.|gon)|Pa\.|Pennsylvania|R\.I\.|Rhode Island|S\.C\.|"
    r"South Carolina|S\.D\.|South Dakota|Tenn(?:\.|essee)|Texas|Utah|Vt\.|Vermont|Va\.|Virginia|Wash(?:\.|ington)|W\. ?Va\.|"
    r"West Virginia|Wis(?:\.|consin)|Wyo(?:\.|ming)|D\. ?C\.|Puerto Rico|Guam|"
    r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])\b"
)
_TOWN = re.compile(rf"\b(?:in|at|from) ((?:[A-Z][\w'’-]{{1,20}}\.? ){{0,3}}[A-Z][\w'’-]{{1,20}}, (?:{_STATES}))")
_PLACE_LABEL = re.compile(
    r"\b(?:where|location|place|venue) ?: ?([^.;:\n]{3,80}(?:\.(?=\w)[^.;:\n]{1,40})?)", re.IGNORECASE
)
_ONLINE = re.compile(
    r"\b(?:webinar|virtual(?:ly)?|online|via (?:zoom|(?:microsoft )?teams|webex)|by videoconference|teleconference)\b",
    re.IGNORECASE,
)
_PLACE_REACH = 300  # number of characters around the day in which to look for the place


@dataclass(frozen=True, slots=True)
class AnnouncedEvent:
    """An announced event, in UTC.

    An event without a time and zone is `all_day`, and starts at noon on its first day.
    """

    starts_at: datetime
    ends_at: datetime | None
    all_day: bool
    zone: str
    place: str


def is_event_title(title: str) -> bool:
    """Return True if a title names a kind of event, such as a workshop or a hearing."""
    return bool(_EVENT_NOUN.search(title))


def find_event(title: str, text: str, published: datetime | None) -> AnnouncedEvent | None:
    """Return the event that an item announces, or None if there's none or it had passed at publication.

    A day without a year is the first such day on or after the publication date. Without a
    publication date, it's ignored.
    """
    if not (is_event_title(title) or _EVENT_NOUN.search(text, 0, _NOUN_REACH)):
        return None
    for body, start in _list_starts(title, text):
        written = read_day_and_time(
            body, start, published, filler=_FILLER, read_time=read_clock_range, max_steps=_MAX_STEPS
        )
        if written and is_ahead(written[0].last, published):
            day, clock, at = written
            clock = clock or _read_clock_behind(body, day.end)
            return _make_event(day, clock, _find_place(title, body, at))
    return None


def _list_starts(title: str, text: str) -> Iterator[tuple[str, int]]:
    """Yield each position where a day may be found, as a text and an index.

    These are the words of an event's title and the ends of announcing words.
    """
    if is_event_title(title):
        for word in islice(re.finditer(r"\b\w", title), 60):
            yield title, word.start()
    for at in islice(_cue_ends(text), _MAX_CUES):
        yield text, at


def _cue_ends(text: str) -> Iterator[int]:
    for cue in _EVENT_CUE.finditer(text):
        yield cue.end()
        if cue["label"]:
            continue
        for before in _BEFORE_TIME.finditer(text, cue.end(), cue.end() + _CUE_REACH):
            if before[0] in ":;.":
                break
            yield before.end()


def _read_clock_behind(text: str, start: int) -> WrittenClock | None:
    at = start
    for _ in range(_MAX_GAP_STEPS):
        if clock := read_clock_range(text, at):
            return clock
        filler = _FILLER.match(text, at)
        if filler is None:
            return None
        at = filler.end()
    return None


def _make_event(day: WrittenDay, clock: WrittenClock | None, place: str) -> AnnouncedEvent:
    zone = load_deadline_zone(clock.zone) if clock else None
    ends_at = noon_utc(day.last) if day.last > day.first else None
    if clock is None or zone is None:
        return AnnouncedEvent(noon_utc(day.first), ends_at, all_day=True, zone="", place=place)
    starts_at = datetime.combine(day.first, clock.clock, zone).astimezone(UTC)
    return AnnouncedEvent(starts_at, ends_at, all_day=False, zone=clock.zone, place=place)


def _find_place(title: str, text: str, at: int) -> str:
    """Return the place near a day, or "" if there's none.

    It's a labeled place, a town with its state, or "Online".
    """
    near = text[max(0, at - _PLACE_REACH) : at + _PLACE_REACH]
    if match := _PLACE_LABEL.search(near):
        return match[1].strip(" ,")
    if match := _TOWN.search(near):
        return match[1]
    return "Online" if _ONLINE.search(f"{title} {near}") else ""

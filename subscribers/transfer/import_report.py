"""What an import did, or would do: counts, marks and the first problems."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from importlib import resources
from typing import Any

from subscribers.address import Address
from subscribers.transfer.decisions import RowOutcome, RowReason
from subscribers.transfer.list_file import FileSurvey
from subscribers.transfer.outcome_file import OutcomeFile
from subscribers.transfer.rows import ImportRow, RowError, UnknownStatusWordError, may_quote

_MARKS = tomllib.loads(resources.files("subscribers.transfer").joinpath("address_marks.toml").read_text("utf-8"))
ROLE_NAMES = frozenset(_MARKS["role_names"])
DISPOSABLE_DOMAINS = frozenset(_MARKS["disposable_domains"])
LARGE_DOMAINS: list[str] = _MARKS["large_domains"]
OTHER_DOMAINS = frozenset(_MARKS["other_domains"])


def is_role_address(address: Address) -> bool:
    """Return whether the local part names a role; what follows a plus sign does not count."""
    return address.local.partition("+")[0].lower() in ROLE_NAMES


def is_disposable_address(address: Address) -> bool:
    """Return whether the domain is one of the short list of throw-away mail services."""
    return address.domain in DISPOSABLE_DOMAINS


MAX_PROBLEMS = 10
MAX_COUNTED_TAGS = 1000  # of those that mean no section or topic
MAX_COUNTED_REASONS = 50  # reasons, words and domains that are counted apart
ROW_FLAGS = ("role addresses", "disposable addresses", "confirmed without a network address")
VOUCHED_ROWS = "vouched for"  # of those that are subscribed

RejectCallback = Callable[[int, str, Sequence[str]], None]
"""Takes the number, the reason, and the fields of a rejected row."""
ImportProgress = Callable[[int], None]


def ignore_reject(number: int, reason: str, fields: Sequence[str]) -> None:
    """Keep nothing of a rejected row."""


_ADDED_OUTCOMES = frozenset({RowOutcome.SUBSCRIBED, RowOutcome.UNVERIFIED})


@dataclass(slots=True)
class ImportReport:
    """What became of each row. `counts` has every outcome, and how many of the people taken carry a mark.

    `problems` are the first rejected rows: number and reason. `batch` is None in a dry run. `already_imported` tells
    that this very file was brought in before, and nothing was done. `longest_write` is the longest write transaction
    in seconds. `outcomes` is where every row's outcome is noted, if somebody asked for it. `tags` counts rows by tag and the key of
    its section or topic.
    """

    survey: FileSurvey
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_words: Counter[tuple[str, str]] = field(default_factory=Counter)
    slips: Counter[tuple[str, str]] = field(default_factory=Counter)
    tags: Counter[tuple[str, str]] = field(default_factory=Counter)
    batch: int | None = None
    started_at: datetime | None = None
    already_imported: bool = False
    longest_write: float = 0.0
    outcomes: OutcomeFile | None = None

    def as_json(self) -> dict[str, int]:
        """Return every count, zeros too, in a fixed order."""
        return {name: self.counts[name] for name in (*map(str, RowOutcome), *ROW_FLAGS, VOUCHED_ROWS)}

    def resolve_row(self, row: ImportRow, reason: RowReason, detail: str = "") -> None:
        """Count a row under what it comes to, and note why."""
        count_row(self.counts, row, reason)
        self.note_outcome(row.number, reason, detail)

    def note_outcome(self, number: int, reason: RowReason, detail: str = "") -> None:
        """Note what a row comes to, where an account is kept."""
        if self.outcomes is not None:
            self.outcomes.note(number, reason, detail)

    def add_blank(self, number: int, *, counted: bool) -> None:
        """Count a row in which nothing stands."""
        self.counts[RowOutcome.BLANK] += counted
        self.note_outcome(number, RowReason.BLANK)

    def add_reject(self, number: int, error: RowError, *, counted: bool) -> None:
        """Count a rejected row, its reason and the unknown word in it, and remember the first."""
        self.counts[RowOutcome.REJECTED] += counted
        self.note_outcome(number, RowReason.REJECTED, str(error))
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((number, str(error)))
        _count_one_of(self.reasons, str(error))
        if isinstance(error, UnknownStatusWordError):
            _count_one_of(self.unknown_words, (error.column, error.word))

    def note_slip(self, domain: str, meant: str) -> None:
        """Count a row whose domain is most likely mistyped."""
        _count_one_of(self.slips, (domain, meant))

    def note_tags(self, tags: Iterable[tuple[str, str]]) -> None:
        """Count a row under its tags."""
        for tag in tags:
            if tag[1] or tag in self.tags or len(self.tags) < MAX_COUNTED_TAGS:
                self.tags[tag] += 1

    def list_quotable_tags(self) -> list[tuple[str, str, int]]:
        """Return tags that may be shown, with the key of their section or topic, and the number of rows.

        A value that means none and is in one row could be a name, if the column has no tags.
        """
        counts = ((tag, part, rows) for (tag, part), rows in self.tags.most_common())
        return [(tag, part, rows) for tag, part, rows in counts if part or (rows > 1 and may_quote(tag))]


def _count_one_of(counts: Counter[Any], key: object) -> None:
    """Count among at most 50 keys; what is new beyond them is not counted apart."""
    if key in counts or len(counts) < MAX_COUNTED_REASONS:
        counts[key] += 1


def count_row(counts: Counter[str], row: ImportRow, reason: RowReason, *, by: int = 1) -> None:
    """Count a row under its outcome (-1 takes it back); those of people who are taken in also under their marks."""
    outcome = reason.outcome
    assert outcome is not None, "a row that is judged comes to something"
    counts[outcome] += by
    if outcome not in _ADDED_OUTCOMES:
        return
    if reason is RowReason.ATTESTED:
        counts[VOUCHED_ROWS] += by
    if is_role_address(row.address):
        counts[ROW_FLAGS[0]] += by
    if is_disposable_address(row.address):
        counts[ROW_FLAGS[1]] += by
    if row.confirmed_at is not None and not row.confirmed_ip:
        counts[ROW_FLAGS[2]] += by


@lru_cache(maxsize=20_000)
def find_likely_domain(domain: str) -> str:
    """Return the domain that was most likely meant; an empty text where nothing says that another was.

    A slip is one letter left out, too many or wrong, or two letters that changed places (Damerau's four kinds of typing
    errors: F. J. Damerau, Communications of the ACM 7(3), 1964).
    """
    if domain in LARGE_DOMAINS or domain in OTHER_DOMAINS:
        return ""
    return next((large for large in LARGE_DOMAINS if _is_one_slip_away(domain, large)), "")


def _is_one_slip_away(typed: str, meant: str) -> bool:
    if abs(len(typed) - len(meant)) > 1:
        return False
    start = next(
        (
            n
            for n, (typed_letter, meant_letter) in enumerate(zip(typed, meant, strict=False))
            if typed_letter != meant_letter
        ),
        len(typed),
    )
    typed_rest, meant_rest = typed[start:], meant[start:]
    has_swapped_letters = (
        len(typed_rest) > 1 and typed_rest[1::-1] == meant_rest[:2] and typed_rest[2:] == meant_rest[2:]
    )
    return (
        has_swapped_letters
        or meant_rest == typed_rest[1:]
        or typed_rest == meant_rest[1:]
        or typed_rest[1:] == meant_rest[1:]
    )

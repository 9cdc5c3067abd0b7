"""The report on an import or a dry run: counts, marks, and the first problems."""

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
from subscribers.transfer.row_builder import DecidedRow
from subscribers.transfer.rows import ImportRow, RowError, UnknownStatusWordError, may_quote

_MARKS = tomllib.loads(resources.files("subscribers.transfer").joinpath("address_marks.toml").read_text("utf-8"))
ROLE_NAMES = frozenset(_MARKS["role_names"])
DISPOSABLE_DOMAINS = frozenset(_MARKS["disposable_domains"])
LARGE_DOMAINS: list[str] = _MARKS["large_domains"]
OTHER_DOMAINS = frozenset(_MARKS["other_domains"])


def is_role_address(address: Address) -> bool:
    """Return True if an address's local part, ignoring anything after a plus sign, is a role such as "info"."""
    return address.local.partition("+")[0].lower() in ROLE_NAMES


def is_disposable_address(address: Address) -> bool:
    """Return True if an address's domain is in the short list of disposable email services."""
    return address.domain in DISPOSABLE_DOMAINS


MAX_PROBLEMS = 10
# The limit for tags that don't represent a section or topic.
MAX_COUNTED_TAGS = 1000
MAX_COUNTED_REASONS = 50  # reasons, words, and domains that are counted individually
ROW_FLAGS = ("role addresses", "disposable addresses", "confirmed without a network address")
VOUCHED_ROWS = "vouched for"  # of those that are subscribed
# The departures of people who were subscribed here.
ENDED_SUBSCRIPTIONS = "subscribers unsubscribed"

# Called with the number, reason, and fields of a rejected row.
RejectCallback = Callable[[int, str, Sequence[str]], None]
ImportProgress = Callable[[int], None]


def ignore_reject(number: int, reason: str, fields: Sequence[str]) -> None:
    """Ignore a rejected row, which is the default."""


_ADDED_OUTCOMES = frozenset({RowOutcome.SUBSCRIBED, RowOutcome.UNVERIFIED})


@dataclass(slots=True)
class ImportReport:
    """The outcomes of an import's rows.

    `counts` contains every outcome, and the number of added people with each mark. `problems`
    contains the numbers and reasons of the first rejected rows. `batch` is None in a dry run.
    `already_imported` means that this file was imported before, and nothing was done. `longest_write`
    is the duration of the longest write transaction in seconds. `outcomes` records the outcome of
    every row, if requested. `tags` counts rows by tag and the key of its section or topic.
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
        """Return all counts, including zeros, in a fixed order."""
        return {
            name: self.counts[name] for name in (*map(str, RowOutcome), *ROW_FLAGS, VOUCHED_ROWS, ENDED_SUBSCRIPTIONS)
        }

    def resolve_row(self, row: ImportRow, reason: RowReason, detail: str = "") -> None:
        """Count a row under its outcome, and record the reason."""
        _count_row(self.counts, row.address, reason, lacks_network=row.lacks_network)
        self.note_outcome(row.number, reason, detail)

    def note_decided_row(self, row: DecidedRow) -> None:
        """Record the outcome of a row, and of the earlier row that it overrides."""
        self.note_outcome(row.row.number, row.decision.reason)
        if row.earlier is not None and row.overridden is not None:
            self.note_outcome(row.earlier.number, RowReason.LEFT_BY_ANOTHER_ROW, str(row.row.number))

    def note_outcome(self, number: int, reason: RowReason, detail: str = "") -> None:
        """Record the outcome of a row if outcomes were requested."""
        if self.outcomes is not None:
            self.outcomes.note(number, reason, detail)

    def add_blank(self, number: int, *, counted: bool) -> None:
        """Record the outcome of a blank row, and count it if `counted`."""
        self.counts[RowOutcome.BLANK] += counted
        self.note_outcome(number, RowReason.BLANK)

    def add_reject(self, number: int, error: RowError, *, counted: bool) -> None:
        """Record a rejected row with its reason and any unknown word, and count it if `counted`."""
        self.counts[RowOutcome.REJECTED] += counted
        self.note_outcome(number, RowReason.REJECTED, str(error))
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((number, str(error)))
        _count_one_of(self.reasons, str(error))
        if isinstance(error, UnknownStatusWordError):
            _count_one_of(self.unknown_words, (error.column, error.word))

    def count_likely_typo(self, domain: str, meant: str) -> None:
        """Count a row whose domain is probably mistyped."""
        _count_one_of(self.slips, (domain, meant))

    def note_tags(self, tags: Iterable[tuple[str, str]]) -> None:
        """Count a row for each of its tags."""
        for tag in tags:
            if tag[1] or tag in self.tags or len(self.tags) < MAX_COUNTED_TAGS:
                self.tags[tag] += 1

    def list_quotable_tags(self) -> list[tuple[str, str, int]]:
        """Return the tags that may be shown, each with the key of its section or topic, and the number of rows.

        If the column isn't for tags, a value without a meaning that's only in one row could be a
        name, so such values are omitted.
        """
        counts = ((tag, part, rows) for (tag, part), rows in self.tags.most_common())
        return [(tag, part, rows) for tag, part, rows in counts if part or (rows > 1 and may_quote(tag))]


def _count_one_of(counts: Counter[Any], key: object) -> None:
    """Add one to the count for a key. There can be at most 50 keys.

    Additional keys aren't counted.
    """
    if key in counts or len(counts) < MAX_COUNTED_REASONS:
        counts[key] += 1


def count_decided_row(counts: Counter[str], row: DecidedRow, *, by: int = 1) -> None:
    """Add `by` to the counts for a row, and adjust the counts for the earlier row that it overrides.

    With -1, that's undone.
    """
    address = row.row.address
    _count_row(counts, address, row.decision.reason, lacks_network=row.row.lacks_network, by=by)
    counts[ENDED_SUBSCRIPTIONS] += by * row.ends_subscription
    if row.earlier is not None and row.overridden is not None:
        _count_row(counts, address, row.overridden, lacks_network=row.earlier.lacks_network, by=-by)
        _count_row(counts, address, RowReason.LEFT_BY_ANOTHER_ROW, by=by)


def _count_row(
    counts: Counter[str], address: Address, reason: RowReason, *, lacks_network: bool = False, by: int = 1
) -> None:
    """Add `by` to the count for a row's outcome and, if a person was added, to the counts for their marks."""
    outcome = reason.outcome
    assert outcome is not None, "every decided row has an outcome"
    counts[outcome] += by
    if outcome not in _ADDED_OUTCOMES:
        return
    if reason is RowReason.ATTESTED:
        counts[VOUCHED_ROWS] += by
    if is_role_address(address):
        counts[ROW_FLAGS[0]] += by
    if is_disposable_address(address):
        counts[ROW_FLAGS[1]] += by
    if lacks_network:
        counts[ROW_FLAGS[2]] += by


@lru_cache(maxsize=20_000)
def find_likely_domain(domain: str) -> str:
    """Return the large domain that was probably meant, or "" if there's none.

    A typo is one letter that's missing, extra, or wrong, or two transposed letters, which are the
    four kinds of typing errors by Damerau (F. J. Damerau, Communications of the ACM 7(3), 1964).
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

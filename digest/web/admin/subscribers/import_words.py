"""What columns mean and what becomes of rows, in the words of the pages for admins."""

from collections.abc import Mapping

from digest.app.subscribers.upload_files import UploadStage
from subscribers.transfer.decisions import RowOutcome, RowReason
from subscribers.transfer.formats import EXPORT_FORMATS
from subscribers.transfer.import_report import VOUCHED_ROWS

SERVICES = ", ".join(form.origin for form in EXPORT_FORMATS)
WITHOUT_CONSENT = frozenset(form.origin for form in EXPORT_FORMATS if not form.exports_consent)
# What the rows are, and what becomes of them.
VOUCHED_WORDS = ("Vouched for by an admin", "Come onto the list")
NOT_ON_RECORD = "Not on record"
OUTCOME_WORDS: Mapping[RowOutcome, tuple[str, str]] = {
    RowOutcome.SUBSCRIBED: ("Agreed, with evidence", "Come onto the list"),
    RowOutcome.UNVERIFIED: ("Agreed, without evidence", "Wait, and are not mailed. You may ask them once to confirm"),
    RowOutcome.KNOWN: ("Already here", "Stay as they are"),
    RowOutcome.DEPARTED: ("Left, or mail came back, elsewhere", "Go to those who are never mailed"),
    RowOutcome.LEFT_OR_SUPPRESSED: ("Left us before", "Stay away. An import brings nobody back"),
    RowOutcome.DUPLICATE: ("Twice in the file", "The first row counts"),
    RowOutcome.REJECTED: ("Cannot be taken", "Left out, each with its reason"),
    RowOutcome.BLANK: ("Blank", "Passed over"),
}
STAGE_WORDS: Mapping[UploadStage, str] = {
    UploadStage.NEW: "not tried yet",
    UploadStage.TRYING: "being tried",
    UploadStage.TRIED: "tried, nothing written",
    UploadStage.IMPORTING: "being imported",
    UploadStage.STOPPED: "stopped, can go on",
    UploadStage.DONE: "imported",
    UploadStage.FAILED: "broke off",
}


def list_outcomes(counts: Mapping[str, int]) -> list[tuple[str, int, str]]:
    """Return what the rows are, how many, and what becomes of them, where there are any."""
    vouched = counts.get(VOUCHED_ROWS, 0)
    rows = [(words[0], counts.get(str(outcome), 0), words[1]) for outcome, words in OUTCOME_WORDS.items()]
    what, agreed, then = rows[0]
    rows[:1] = [(what, agreed - vouched, then), (VOUCHED_WORDS[0], vouched, VOUCHED_WORDS[1])]
    return [row for row in rows if row[1]]


def name_outcome(reason: RowReason) -> str:
    """Return what a row is, in the words under which the page counts it."""
    if reason is RowReason.ATTESTED:
        return VOUCHED_WORDS[0]
    return OUTCOME_WORDS[reason.outcome][0] if reason.outcome is not None else NOT_ON_RECORD


def count_left_out(counts: Mapping[str, int]) -> int:
    """Return how many rows an import left out. One that stands twice is none: its person came in by the first."""
    return counts.get(RowOutcome.REJECTED, 0)

"""Which backups of a folder are kept: the newest of each of the last days, weeks and months that have one."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from digest.settings.operations import BackupSettings

_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_NAME_PATTERN = re.compile(r"digest-(\d{8}T\d{6}Z)(-unproved)?\.zip\.age")


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One backup of the folder. Its name says when it was made, and whether what it holds was proved."""

    made_at: datetime
    proved: bool

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"digest-{self.made_at.astimezone(UTC):{_TIME_FORMAT}}{'' if self.proved else '-unproved'}.zip.age"


def parse_backup_name(name: str) -> BackupFile | None:
    """Read the name of a file; None where it is none of the folder's backups."""
    found = _NAME_PATTERN.fullmatch(name)
    if found is None:
        return None
    try:
        made_at = datetime.strptime(found[1], _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return BackupFile(made_at, proved=found[2] is None)


def choose_outdated(files: Iterable[BackupFile], wanted: BackupSettings, zone: ZoneInfo) -> list[BackupFile]:
    """Choose the backups to delete, oldest first.

    It counts days that have a backup, so that no pause of the clock leaves fewer. Backups that were not proved are counted
    apart: however many come, none takes the place of one that was, and the newest proved one always stays.
    """
    newest_first = sorted(files, key=lambda file: file.made_at, reverse=True)
    proved = [file for file in newest_first if file.proved]
    others = [file for file in newest_first if not file.proved]
    spans: tuple[tuple[int, Callable[[datetime], object]], ...] = (
        (wanted.daily, lambda local: local.date()),
        (wanted.weekly, lambda local: local.isocalendar()[:2]),
        (wanted.monthly, lambda local: (local.year, local.month)),
    )
    kept: set[BackupFile] = set(proved[:1])
    for count, span_of in spans:
        kept.update(_newest_by_span(proved, count, span_of, zone))
    kept.update(_newest_by_span(others, wanted.daily, spans[0][1], zone))
    return [file for file in reversed(newest_first) if file not in kept]


def _newest_by_span(
    newest_first: list[BackupFile], count: int, span_of: Callable[[datetime], object], zone: ZoneInfo
) -> list[BackupFile]:
    by_span: dict[object, BackupFile] = {}
    for file in newest_first:
        by_span.setdefault(span_of(file.made_at.astimezone(zone)), file)
    return list(by_span.values())[:count]

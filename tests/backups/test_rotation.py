"""The backups that are kept: the newest of several days, weeks, and months, and always the newest verified one."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from digest.app.upkeep.backups import BackupFile, choose_outdated_backups, parse_backup_name
from digest.settings import BackupSettings

ZONE = ZoneInfo("America/New_York")
START = datetime(2026, 1, 1, 7, 30, tzinfo=UTC)


def nights(count: int, *, proved: bool = True, first: int = 0) -> list[BackupFile]:
    return [BackupFile(START + timedelta(days=first + day), proved) for day in range(count)]


def kept(files: list[BackupFile], *, daily: int, weekly: int, monthly: int = 0) -> list[str]:
    outdated = choose_outdated_backups(files, BackupSettings(daily=daily, weekly=weekly, monthly=monthly), ZONE)
    return [f"{file.made_at:%m-%d}" for file in files if file not in outdated]


def test_days_weeks_and_months_are_kept() -> None:
    year = nights(365)
    assert kept(year, daily=7, weekly=4) == [
        *("12-13", "12-20"),
        *("12-25", "12-26", "12-27", "12-28", "12-29", "12-30", "12-31"),
    ]
    assert kept(year, daily=2, weekly=0, monthly=3) == ["10-31", "11-30", "12-30", "12-31"]


def test_only_the_newest_of_a_day_stays() -> None:
    by_hand = BackupFile(START + timedelta(hours=3), proved=True)
    assert choose_outdated_backups([*nights(1), by_hand], BackupSettings(), ZONE) == nights(1)


def test_a_pause_of_the_clock_leaves_no_fewer() -> None:
    files = [*nights(5), *nights(2, first=200)]
    assert len(kept(files, daily=7, weekly=0)) == 7


def test_what_was_not_proved_takes_the_place_of_nothing_that_was() -> None:
    files = [*nights(1), *nights(60, proved=False, first=1)]
    assert kept(files, daily=3, weekly=2) == ["01-01", "02-28", "03-01", "03-02"]


@given(
    st.lists(
        st.builds(BackupFile, st.datetimes(START.replace(tzinfo=None), timezones=st.just(UTC)), st.booleans()),
        unique=True,
    ),
    st.builds(BackupSettings, daily=st.integers(1, 9), weekly=st.integers(0, 9), monthly=st.integers(0, 9)),
)
def test_the_newest_proved_one_always_stays_and_choosing_again_chooses_nothing(
    files: list[BackupFile], wanted: BackupSettings
) -> None:
    outdated = choose_outdated_backups(files, wanted, ZONE)
    left = [file for file in files if file not in outdated]
    proved = [file for file in files if file.proved]
    if proved:
        assert max(proved, key=lambda file: file.made_at) in left
    assert choose_outdated_backups(left, wanted, ZONE) == []


def test_a_name_says_when_and_whether_it_was_proved() -> None:
    for file in (BackupFile(START, proved=True), BackupFile(START, proved=False)):
        assert parse_backup_name(file.name) == file
    assert BackupFile(START, proved=False).name == "digest-20260101T073000Z-unproved.zip.age"
    for strange in ("digest-20260101T073000Z.zip", "digest-20261301T073000Z.zip.age", "left.log", "notes.age"):
        assert parse_backup_name(strange) is None

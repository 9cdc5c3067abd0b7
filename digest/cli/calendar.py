"""The `digest calendar` command, which lists, skips, moves, adds, and restores editions."""

from collections.abc import Sequence
from datetime import date, datetime, time

import click
from rich.table import Column, Table
from rich.text import Text

from digest.app.calendar import releases as calendar_actions
from digest.app.calendar.releases import CalendarEntry
from digest.cli.context import CommandContext, json_option, pass_command_context, pick_json_fields, print_result
from digest.edition.calendar.release_calendar import PlannedRelease
from subscribers.english_text import clock_time, weekday_date


@click.group(epilog="\b\nExample:\n  digest calendar list")
def calendar() -> None:
    """Show and change the schedule of editions."""


@calendar.command(
    "list",
    epilog="""\b
Examples:
  digest calendar list
  digest calendar list --json

Exit codes: 0 shown.""",
)
@click.option(
    "--count",
    type=click.IntRange(1, 100),
    default=calendar_actions.LISTED_RELEASES,
    show_default=True,
    help="Number of editions.",
)
@json_option("Print the editions as JSON.")
@pass_command_context
def list_releases(context: CommandContext, count: int, as_json: bool) -> None:
    """List the next editions with their draft times, reminders, and deadlines."""
    entries = calendar_actions.read_calendar(context.installation, now=context.now(), count=count)
    release_rows = [_entry_as_json(entry) for entry in entries]
    print_result(release_rows, [_make_calendar_table(context, entries)], as_json=as_json)


def _make_calendar_table(context: CommandContext, entries: Sequence[CalendarEntry]) -> Table:
    zone = context.settings.zone
    headings = ("Send time", "Edition", "No.", "Draft", "Reminder", "Approve by", "Notes")
    table = Table(*(Column(heading, overflow="fold") for heading in headings))
    for entry in entries:
        steps = entry.steps
        moments = ((entry.release.release_at,), steps.drafts, steps.reminders, (steps.deadline,))
        goes_out, *before = (", ".join(f"{at.astimezone(zone):%a %Y-%m-%d %H:%M}" for at in each) for each in moments)
        number = "-" if entry.number is None else str(entry.number)
        planned = ["-"] * 3 if entry.release.is_skipped else [cell or "-" for cell in before]
        cells = (goes_out, entry.name, number, *planned, _describe_entry(entry))
        table.add_row(*map(Text, cells))
    return table


@calendar.command(
    epilog="""\b
Examples:
  digest calendar skip 2026-12-25
  digest calendar skip 2026-W52

RELEASE is the date of a planned edition, its name, or 'next'. If there are two on one day, add the time
(2026-12-08T12:00). To undo this before the send time, run 'digest calendar restore'. Exit codes: 0 skipped, 1 not possible."""
)
@click.argument("release")
@pass_command_context
def skip(context: CommandContext, release: str) -> None:
    """Skip an edition and keep its stories for the next one. An existing draft is set aside."""
    skipped = calendar_actions.skip_release(
        context.installation, _find_moment(context, release), actor=context.actor, now=context.now()
    )
    click.echo(f"Skipped {_write_release(context, skipped)}. Its stories are kept for the next edition.")


@calendar.command(
    epilog="""\b
Examples:
  digest calendar move 2027-01-01 2026-12-31T06:00
  digest calendar move next 2026-11-21T08:00

TO is in the publication's time zone. The draft time, reminders, and deadline move, too, and an existing draft gets the new date.
Exit codes: 0 moved, 1 not possible."""
)
@click.argument("release")
@click.argument("to")
@pass_command_context
def move(context: CommandContext, release: str, to: str) -> None:
    """Move an edition by at most seven days, but not past another."""
    day, clock = _read_local_moment(to)
    new_release = calendar_actions.move_release(
        context.installation, _find_moment(context, release), day, clock, actor=context.actor, now=context.now()
    )
    click.echo(f"Moved to {_write_release(context, new_release)}.")


@calendar.command(
    epilog="""\b
Example:
  digest calendar add 2026-12-08T12:00

WHEN is in the publication's time zone. The edition contains articles published since the edition before it and gets the next number.
To remove it, run 'digest calendar skip'. Exit codes: 0 added, 1 not possible at that time."""
)
@click.argument("when")
@pass_command_context
def add(context: CommandContext, when: str) -> None:
    """Add an extra edition."""
    day, clock = _read_local_moment(when)
    added = calendar_actions.add_release(context.installation, day, clock, actor=context.actor, now=context.now())
    click.echo(f"Added an extra edition on {_write_release(context, added)}. It's sent if approved.")


@calendar.command(
    "restore",
    epilog="""\b
Examples:
  digest calendar restore 2026-12-25
  digest calendar restore 2026-12-31

Exit codes: 0 restored, 1 not skipped or moved, or another edition is in its place.""",
)
@click.argument("release")
@pass_command_context
def restore_edition(context: CommandContext, release: str) -> None:
    """Restore a skipped edition with its draft, or a moved one to its usual time."""
    restored = calendar_actions.restore_release(
        context.installation, _find_moment(context, release), actor=context.actor, now=context.now()
    )
    click.echo(f"Restored. The send time is {_write_release(context, restored)}.")


def _find_moment(context: CommandContext, release: str) -> datetime:
    """Return the send time of a planned edition, given its day, its name, or 'next'."""
    return calendar_actions.find_release(context.installation, release, now=context.now()).release_at


def _read_local_moment(text: str) -> tuple[date, time]:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None or "T" not in text:
        raise click.BadParameter(
            f"{text!r} isn't a date and time in the publication's time zone. Enter one such as 2026-12-31T06:00."
        )
    return moment.date(), moment.time()


def _write_release(context: CommandContext, release: PlannedRelease) -> str:
    local = release.release_at.astimezone(context.settings.zone)
    return f"{weekday_date(local)}, {clock_time(local)} {local:%Z}"


def _describe_entry(entry: CalendarEntry) -> str:
    release = entry.release
    if release.is_skipped:
        return "skipped"
    words = ["extra"] if release.is_extra else ["moved"] if release.is_moved else []
    due = ["due"] if entry.is_due else []
    return ", ".join([*words, *due, str(entry.edition.state)] if entry.edition else words)


def _entry_as_json(entry: CalendarEntry) -> dict[str, object]:
    releases = {"release_at": "release.release_at", "regular_at": "release.regular_at", "skipped": "release.is_skipped"}
    steps = {step: f"steps.{step}" for step in ("drafts", "reminders", "deadline")}
    values = pick_json_fields(entry, "number", edition="name", **releases, extra="release.is_extra", **steps)
    return values | {"state": entry.edition.state if entry.edition else None}

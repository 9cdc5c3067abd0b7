"""The `digest audit` command, which shows or exports the audit log."""

import json
from collections.abc import Iterable
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path

import click
from rich.table import Table

from digest.app.subscribers.list_transfers import open_new_export_file
from digest.app.upkeep import audit_log, audit_topics
from digest.cli.context import (
    MOMENT,
    CommandContext,
    check_reason,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_lines,
)
from subscribers.english_text import count_with_noun


@click.command(
    epilog="""\b
Examples:
  digest audit
  digest audit --who scheduler --since 2026-11-01
  digest audit --what addresses --about "subscriber 8214"
  digest audit --since 2026-01-01 --csv audit-2026.csv --reason "yearly audit"

\b
Exit codes:
  0  shown or exported
  1  the file already exists, or no team member has the address
  2  usage error"""
)
@click.option(
    "--who",
    default="",
    help="Person or process, as shown in the log, or a team member's EMAIL.",
)
@click.option("--what", default="", help=f"Action, as shown in the log, or one of {', '.join(audit_topics.TOPICS)}.")
@click.option("--about", default="", help="Subject, such as 'subscriber 8214', '2026-W47', or 'staff 3'.")
@click.option("--since", type=MOMENT, help="Start time.")
@click.option("--until", type=MOMENT, help="End time (exclusive).")
@click.option("--count", type=click.IntRange(min=1), default=50, show_default=True, help="Number of rows to show.")
@json_option("Print the rows as JSON, one per line.")
@click.option(
    "--csv", "csv_file", type=click.Path(path_type=Path), help="Write all matching rows to a new CSV file instead."
)
@click.option("--reason", callback=check_reason, help="Reason for the export, recorded in the log. Requires --csv.")
@pass_command_context
def audit(
    context: CommandContext,
    who: str,
    what: str,
    about: str,
    since: datetime | None,
    until: datetime | None,
    count: int,
    as_json: bool,
    csv_file: Path | None,
    reason: str | None,
) -> None:
    """Show recorded actions, newest first."""
    if (csv_file is None) != (reason is None):
        raise click.UsageError("--csv and --reason must be used together. Add the other one.")
    now = context.now()
    log_filter = audit_log.AuditFilter(
        actor=context.act(audit_log.find_audit_name_by_email, who, now=now) if "@" in who else who,
        topic=what if what in audit_topics.TOPICS else "",
        act="" if what in audit_topics.TOPICS else what,
        subject=audit_topics.parse_subject(about),
        since=context.moment_or_none(since),
        until=context.moment_or_none(until),
    )
    if csv_file is not None and reason is not None:
        with open_new_export_file(csv_file) as file:
            written = context.act(audit_log.export_audit_log, log_filter, reason, file, now=now)
        click.echo(f"Wrote {count_with_noun(written, 'row')} to {csv_file}.")
        return
    rows = islice(context.act(audit_log.iterate_audit_log, log_filter, now=now), count)
    if as_json:
        print_lines(_write_row(row) for row in rows)
    else:
        print_lines([_make_table(rows, context.settings.zone)])


def _write_row(row: audit_log.AuditRow) -> str:
    fields = pick_json_fields(row, "actor", "act", "subject", row="seq")
    fields["at"] = row.at.isoformat()
    return json.dumps(fields | {"detail": audit_log.read_entry_detail(row)}, ensure_ascii=False)


def _make_table(rows: Iterable[audit_log.AuditRow], zone: tzinfo) -> Table:
    table = Table("Row", "When", "Who", "Act", "Subject", "Reason or details")
    for row in rows:
        detail = ". ".join(filter(None, audit_topics.describe_detail(audit_log.read_entry_detail(row), row.subject)))
        when = f"{row.at.astimezone(zone):%Y-%m-%d %H:%M}"
        table.add_row(str(row.seq), when, row.actor, row.act, row.subject, detail)
    return table

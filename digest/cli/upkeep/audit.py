"""`digest audit`: who did what, when; shown or exported."""

import json
from datetime import datetime
from itertools import islice
from pathlib import Path

import click
from rich.table import Table

from digest.app.subscribers.lists import create_export_file
from digest.app.upkeep import audit_log, audit_topics
from digest.cli.context import MOMENT, CommandContext, check_reason, json_option, pass_command_context
from digest.cli.terminal import table_console


@click.command(
    epilog="""\b
Examples:
  digest audit
  digest audit --who scheduler --since 2026-11-01
  digest audit --what addresses --about "reader 8214"
  digest audit --since 2026-01-01 --csv audit-2026.csv --reason "yearly audit"

\b
Exit codes:
  0  shown or written
  1  the file is there already, or nobody has the address
  2  wrong use"""
)
@click.option(
    "--who",
    default="",
    help="An actor as the log names it ('staff 3', 'scheduler', 'terminal:'), or EMAIL of the staff.",
)
@click.option("--what", default="", help=f"An act as the log names it, or one of {', '.join(audit_topics.TOPICS)}.")
@click.option("--about", default="", help="A subject: 'reader 8214', '2026-W47', 'staff 3'.")
@click.option("--since", type=MOMENT, help="The first moment.")
@click.option("--until", type=MOMENT, help="The moment before which they were.")
@click.option(
    "--count", type=click.IntRange(min=1), default=50, show_default=True, help="How many of the newest to show."
)
@json_option("Print them as JSON, one a line.")
@click.option(
    "--csv", "csv_file", type=click.Path(path_type=Path), help="Write all of them to a new FILE as CSV instead."
)
@click.option("--reason", callback=check_reason, help="Why they are exported; with --csv. It stands in the log.")
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
    """Show who did what, when: the newest first. 'digest subscribers verify' proves that no row was changed."""
    if (csv_file is None) != (reason is None):
        raise click.UsageError("--csv and --reason go together: an export has a reason.")
    now = context.now()
    wanted = audit_log.AuditFilter(
        actor=context.act(audit_log.find_actor, who, now=now) if "@" in who else who,
        topic=what if what in audit_topics.TOPICS else "",
        act="" if what in audit_topics.TOPICS else what,
        subject=audit_topics.read_subject(about),
        since=context.moment_or_now(since) if since else None,
        until=context.moment_or_now(until) if until else None,
    )
    if csv_file is not None and reason is not None:
        with create_export_file(csv_file) as file:
            written = context.act(audit_log.export_audit_log, wanted, reason, file, now=now)
        click.echo(f"{written:,} rows written to {csv_file}.")
        return
    rows = islice(context.act(audit_log.iterate_audit_log, wanted, now=now), count)
    if as_json:
        for row in rows:
            fields = {"row": row.seq, "at": row.at.isoformat(), "actor": row.actor, "act": row.act}
            click.echo(
                json.dumps(fields | {"subject": row.subject, "detail": audit_log.read_detail(row)}, ensure_ascii=False)
            )
        return
    zone = context.settings.file.publication.zone
    table = Table("Row", "When", "Who", "Act", "Subject", "Reason or detail")
    for row in rows:
        detail = ". ".join(filter(None, audit_topics.describe_detail(audit_log.read_detail(row))))
        when = f"{row.at.astimezone(zone):%Y-%m-%d %H:%M}"
        table.add_row(str(row.seq), when, row.actor, row.act, row.subject, detail)
    table_console().print(table)

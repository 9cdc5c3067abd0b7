"""`digest work`: one more process that works for an installation on PostgreSQL."""

import click

from digest import logs
from digest.app.jobs import WORKER_PARTS, JobContext
from digest.cli.context import CommandContext, pass_command_context
from digest.stop_signals import stop_on_signal
from scheduler import JobScheduler


def _read_parts(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Read parts of the work, written with commas between them."""
    parts = tuple(part.strip() for part in value.split(","))
    if unknown := [part for part in parts if part not in WORKER_PARTS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(WORKER_PARTS)}.")
    return parts


@click.command(
    epilog="""\b
Examples:
  digest work                         send editions and notices, collect
  digest work --only send             on a machine that does nothing else

Exit codes: 0 stopped by Ctrl+C or SIGTERM, with nothing left in the air; 2 the database is SQLite, or keys or settings are missing."""
)
@click.option(
    "--only",
    metavar="PARTS",
    callback=_read_parts,
    default=",".join(WORKER_PARTS),
    show_default=True,
    help="Parts of the work, with commas between them.",
)
@pass_command_context
def work(context: CommandContext, only: tuple[str, ...]) -> None:
    """Do one more process's share of the work until stopped: on PostgreSQL, on as many machines as one likes."""
    logs.configure_logging(log_format=context.settings.log_format)
    installation = context.installation
    _ = installation.keys  # a missing key file is said now, not at the first release
    scheduler = JobScheduler.for_worker(JobContext(installation), only)
    with stop_on_signal() as stopping:
        scheduler.start()
        click.echo(f"Working: {', '.join(only)}. Stop with Ctrl+C.")
        stopping.wait()
        click.echo("Stopping: what is being handed over ends first.", err=True)
        scheduler.stop()

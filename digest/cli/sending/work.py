"""The `digest work` command, which runs another worker process for an installation on PostgreSQL."""

import click

from digest import logs
from digest.app.jobs import WORKER_PARTS, JobContext
from digest.cli.context import CommandContext, pass_command_context
from digest.stop_signals import stop_on_signal
from scheduler import JobScheduler


def _read_parts(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Parse the types of work, which are separated by commas."""
    parts = tuple(part.strip() for part in value.split(","))
    if unknown := [part for part in parts if part not in WORKER_PARTS]:
        raise click.BadParameter(
            f"There's no type of work named {unknown[0]!r}. Choose from {', '.join(WORKER_PARTS)}."
        )
    return parts


@click.command(
    epilog="""\b
Examples:
  digest work                         send all email, and collect
  digest work --only send             on a machine that only sends

Exit codes: 0 stopped by Ctrl+C or SIGTERM after finishing current messages, 2 the database is SQLite or a
newer version's, or keys or settings are missing."""
)
@click.option(
    "--only",
    metavar="PARTS",
    callback=_read_parts,
    default=",".join(WORKER_PARTS),
    show_default=True,
    help="Types of work to do, separated by commas.",
)
@pass_command_context
def work(context: CommandContext, only: tuple[str, ...]) -> None:
    """Run a worker process until stopped. Requires PostgreSQL."""
    logs.configure_logging(log_format=context.settings.log_format)
    installation = context.installation
    _ = installation.keys  # reports a missing key file now rather than at the first send
    with stop_on_signal() as stopping:
        scheduler = JobScheduler.for_worker(JobContext(installation, stopping=stopping), only)
        scheduler.start()
        click.echo(f"Working on {', '.join(only)}. Press Ctrl+C to stop.")
        stopping.wait()
        click.echo("Stopping. Messages being sent are finished first.", err=True)
        scheduler.stop()

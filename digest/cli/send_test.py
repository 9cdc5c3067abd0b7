"""`digest send --test`: to whom a test went, and what came of it. Addresses of the staff may stand on the terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from digest.app import sending
from digest.cli.context import CommandContext

EXIT_NOT_ALL_ACCEPTED = 1


def send_test_and_report(context: CommandContext, edition: str, to: Sequence[str]) -> None:
    """Send a test, and print a line for each member of the staff."""
    report = sending.send_test(
        context.installation, edition, to=to, actor=context.actor, clock=lambda: datetime.now(UTC)
    )
    click.echo(f"Test of {report.edition}, to the staff; no reader is counted:")
    for result in report.tested:
        click.echo(f"  {result.email:40} {result.state}{f': {result.reply}' if result.reply else ''}")
    if report.stopped:
        click.echo(f"Stopped: {report.stopped}", err=True)
    if not report.arrived:
        raise SystemExit(EXIT_NOT_ALL_ACCEPTED)

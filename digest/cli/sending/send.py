"""`digest send`: an edition to its readers, or as a test to the staff. It imports as little as it can: it starts quickly."""

from collections.abc import Sequence

import click

from digest.app.approval import last_look
from digest.app.editions.edition_status import describe_delivery_counts, edition_status
from digest.app.sending import control as sending
from digest.cli.context import CommandContext, flag, pass_command_context, yes_option
from digest.cli.terminal import show_progress
from digest.deliver.send.run.edition_run import SendReport
from digest.stop_signals import stop_on_signal
from digest.store.delivery_models import DeliveryState

EXIT_STILL_WAITING = 1  # or the counts do not balance, or not all of a test was accepted
EXIT_UNCERTAIN = 3  # nothing waits, and nobody knows whether all of it arrived
POLL_SECONDS = 2.0  # between two looks whether an edition still rests, or others still hand its last messages over


@click.command(
    epilog="""\b
Examples:
  digest send 2026-W47
  digest send 2026-W47 --wait         stay until nobody waits any more
  digest send current --test          to the staff whose address is proven; a draft too
  digest send current --test --to sam@news.example.org

Sending can be interrupted at any moment and started again, and several processes may send at a time: nobody
gets it twice, and what another is handing over is waited for. What a crash leaves in doubt is listed by
'digest uncertain'. From another terminal: 'digest status', 'digest pause', 'digest cancel'.
Exit codes: 0 nothing waits any more (a test: all of it was accepted), 1 something still waits (was not), or
the delivery counts do not balance, 2 wrong use or it may not be sent, 3 nothing waits any more, but of some messages
nobody knows whether they arrived ('digest uncertain')."""
)
@click.argument("edition")
@flag(
    "--wait",
    help="Stay until nobody waits: through a pause or a hold, the first readers' quarter of an hour, bounds, later hours and second tries.",
)
@flag("--test", help="Send it as it stands to the staff alone; no reader is counted.")
@click.option("--to", multiple=True, metavar="EMAIL", help="With --test: to this member of the staff. Repeatable.")
@yes_option("Do not ask before mail leaves for the world.")
@pass_command_context
def send(context: CommandContext, edition: str, wait: bool, test: bool, to: tuple[str, ...], yes: bool) -> None:
    """Send an approved EDITION now, one message per person; with --test, to the staff."""
    if test:
        _send_test(context, edition, to)
        return
    if to:
        raise click.BadParameter("it goes with --test: an edition goes to its readers", param_hint="--to")
    installation = context.installation
    overview = edition_status(installation, edition, now=context.now())
    if not yes and not installation.settings.mail_url.get_secret_value().startswith("outbox:"):
        click.confirm(f"{overview.release_sentence} Send now?", abort=True)
    look = last_look.look_before_sending(installation, overview.name, actor=context.actor, clock=context.now)
    if look is not None and look.looked_at:
        click.echo(f"{look.sentence}.", err=True)
    report = _run_send(context, overview.name, wait=wait)
    if report is None:
        click.echo("Stopped: it was told to stop, and nothing was sent.", err=True)
        raise SystemExit(EXIT_STILL_WAITING)
    counts = report.delivery_counts
    click.echo(describe_delivery_counts(counts))
    if report.stop_reason or report.wait_reason:
        click.echo(f"Stopped: {report.stop_reason or report.wait_reason}", err=True)
    if counts.open or not counts.is_balanced:
        if resume_time := _resume_time(report, context):
            how = f"where 'digest serve' runs by itself, else with 'digest send {report.edition}'"
            click.echo(f"{counts.open:,} still wait{resume_time}, {how}.", err=True)
        raise SystemExit(EXIT_STILL_WAITING)
    if counts[DeliveryState.UNCERTAIN]:
        click.echo(f"Nobody knows whether all of them arrived: see 'digest uncertain {report.edition}'.", err=True)
        raise SystemExit(EXIT_UNCERTAIN)


def _run_send(context: CommandContext, name: str, *, wait: bool) -> SendReport | None:
    """Send until nothing is due; return None where a signal came before all.

    What another process is handing over is waited for, its lease at the longest, for the outcome is known then. With
    `wait`, stay until nothing waits, something goes wrong or a signal comes.
    """
    installation, report, waiting_for = context.installation, None, ""
    with stop_on_signal() as stopping, show_progress(f"Sending {name}") as progress:
        while not stopping.is_set():
            resting = sending.resting_reason(installation, name) if wait else ""
            reason, seconds = resting, POLL_SECONDS
            if not resting:
                report = sending.send_edition(
                    installation,
                    name,
                    actor=context.actor,
                    clock=context.now,
                    report_progress=progress,
                    sleep=stopping.wait,
                    stopping=stopping.is_set,
                )
                if report.stop_reason or not report.delivery_counts.open or not (wait or report.ends_elsewhere):
                    break
                reason = f"{_reason_for_rest(report)}{_resume_time(report, context)}"
                if report.next_due_at is not None:
                    seconds = max(1.0, min(60.0, (report.next_due_at - context.now()).total_seconds()))
            if reason != waiting_for:
                click.echo(f"Waiting: {reason}", err=True)
                waiting_for = reason
            stopping.wait(seconds)
            while not stopping.is_set() and sending.ends_elsewhere(installation, name, now=context.now()):
                stopping.wait(POLL_SECONDS)
    return report


def _reason_for_rest(report: SendReport) -> str:
    """Say why some of an edition is still open."""
    if report.ends_elsewhere:
        return "another process, such as 'digest serve', is handing over the last messages"
    return report.wait_reason or "the rest is due later"


def _resume_time(report: SendReport, context: CommandContext) -> str:
    """Say from when the rest may go; empty where that is now, or unknown."""
    if report.next_due_at is None or report.next_due_at <= context.now():
        return ""
    local = report.next_due_at.astimezone(context.installation.settings.file.publication.zone)
    return f"; it goes on from {local:%A %H:%M %Z}"


def _send_test(context: CommandContext, edition: str, to: Sequence[str]) -> None:
    """Send a test, and print a line for each member of the staff."""
    report = sending.send_test(context.installation, edition, to=to, actor=context.actor, clock=context.now)
    click.echo(f"Test of {report.edition}, to the staff; no reader is counted:")
    for result in report.tested:
        click.echo(f"  {result.email:40} {result.state}{f': {result.reply}' if result.reply else ''}")
    if report.stopped:
        click.echo(f"Stopped: {report.stopped}", err=True)
    if not report.arrived:
        raise SystemExit(EXIT_STILL_WAITING)

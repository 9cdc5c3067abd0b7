"""The `digest send` command, which sends an edition to subscribers, or a test to the staff.

It imports little, so that it starts quickly.
"""

from collections.abc import Sequence

import click

from digest.app.approval import final_check
from digest.app.editions.edition_status import describe_delivery_counts, read_edition_status
from digest.app.sending import breaking_news
from digest.app.sending import send_control as sending
from digest.cli.context import CommandContext, flag, pass_command_context, yes_option
from digest.cli.terminal import show_progress
from digest.deliver.send.run.edition_sending import SendReport
from digest.stop_signals import stop_on_signal
from digest.store.delivery_models import DeliveryState
from subscribers.english_text import count_with_noun

# Also used if the delivery counts don't balance, or if some test emails weren't accepted.
EXIT_STILL_WAITING = 1
EXIT_UNCERTAIN = 3  # nothing is waiting, but some messages have an unknown status
EXIT_REFUSED = 4  # nothing is waiting, but some refusals need a decision
# Between checks for a resumed edition, or for the end of a send by another process.
POLL_SECONDS = 2.0


@click.command(
    epilog="""\b
Examples:
  digest send 2026-W47
  digest send 2026-W47 --wait         wait until everything is sent
  digest send current --test          to team members with a verified address
  digest send current --test --to sam@news.example.org

You can interrupt sending at any time and start it again, and several processes can send at once, without duplicates. If a
process crashes, 'digest uncertain' lists the messages whose status is unknown. In another terminal, you can use
'digest status', 'digest pause', and 'digest cancel'.
Exit codes: 0 everything is sent (for a test, accepted), 1 some messages aren't sent yet (or accepted), or the delivery counts
don't add up, 2 usage error, or it can't be sent, 3 everything is sent, but some messages have an unknown status, 4 everything is
sent, but at least 5 messages and 2% were refused (not counting addresses that don't exist), and no one has acknowledged the refusals."""
)
@click.argument("edition")
@flag(
    "--wait",
    help="Wait until everything is sent, even through pauses, limits, retries, and later hours.",
)
@flag("--test", help="Send a test of the edition in its current state to the team.")
@click.option("--to", multiple=True, metavar="EMAIL", help="Team member to send the test to (with --test). Repeatable.")
@yes_option("Don't ask for confirmation before sending to external addresses.")
@pass_command_context
def send(context: CommandContext, edition: str, wait: bool, test: bool, to: tuple[str, ...], yes: bool) -> None:
    """Send an approved EDITION now. With --test, send it to the team, even if it's a draft."""
    if test:
        _send_test(context, edition, to)
        return
    if to:
        raise click.BadParameter(
            "--to works only with --test. Editions are always sent to all subscribers.", param_hint="--to"
        )
    installation = context.installation
    overview = read_edition_status(installation, edition, now=context.now())
    if not yes and not installation.settings.mail_url.get_secret_value().startswith("outbox:"):
        sentence = sending.describe_upcoming_send(installation, overview, now=context.now())
        click.confirm(f"{sentence} Send now?", abort=True)
    if overview.is_breaking_news:
        breaking_news.request_send_now(installation, overview.name, actor=context.actor, now=context.now())
    _recheck_articles(context, overview.name)
    report = _run_send(context, overview.name, wait=wait)
    if report is None:
        click.echo("Canceled. No email was sent.", err=True)
        raise SystemExit(EXIT_STILL_WAITING)
    click.echo(describe_delivery_counts(report.delivery_counts))
    if exit_code := _explain_rest(context, report):
        raise SystemExit(exit_code)


def _recheck_articles(context: CommandContext, name: str) -> None:
    article_check = final_check.check_before_sending(context.installation, name, actor=context.actor, clock=context.now)
    if article_check is not None and article_check.checked_count:
        click.echo(f"{article_check.sentence}.", err=True)


def _explain_rest(context: CommandContext, report: SendReport) -> int:
    """Print the reason that a send stopped and what remains to be sent.

    Return the exit code.
    """
    counts, stop_reason = report.delivery_counts, report.stop_reason or report.wait_reason
    if stop_reason:
        click.echo(f"Stopped: {stop_reason}", err=True)
    if report.domains_aside:
        click.echo(
            f"Stop rules set emails aside. To send or drop these emails, run 'digest set-aside {report.edition}'.",
            err=True,
        )
    if counts.open or not counts.is_balanced:
        if resume_time := _resume_time(report, context):
            how = f"automatically if 'digest serve' is running, or with 'digest send {report.edition}'"
            click.echo(f"{counts.open:,} not sent yet{resume_time}. Sending continues {how}.", err=True)
        return EXIT_STILL_WAITING
    if report.refusals:
        refusals = count_with_noun(report.refusals, "refusal needs a decision", "refusals need a decision")
        click.echo(f"{refusals}. See 'digest refused {report.edition}'.", err=True)
    if counts[DeliveryState.UNCERTAIN]:
        click.echo(f"The status of some messages is unknown. See 'digest uncertain {report.edition}'.", err=True)
        return EXIT_UNCERTAIN
    return EXIT_REFUSED if report.refusals else 0


def _run_send(context: CommandContext, name: str, *, wait: bool) -> SendReport | None:
    """Send an edition until nothing is due.

    Return the last report, or None if a signal came first. If another process is sending the last
    messages, wait for it, at most until its lease ends, because their result is known by then. With
    `wait`, continue until nothing is waiting, an error occurs, or a signal comes.
    """
    installation, report, waiting_for = context.installation, None, ""
    with stop_on_signal() as stopping, show_progress(f"Sending {name}") as progress:
        while not stopping.is_set():
            reason, seconds = sending.explain_paused_edition(installation, name) if wait else "", POLL_SECONDS
            if not reason:
                report = sending.send_edition(
                    installation,
                    name,
                    actor=context.actor,
                    clock=context.now,
                    report_progress=progress,
                    sleep=stopping.wait,
                    stopping=stopping.is_set,
                )
                if _is_over(report, wait=wait):
                    break
                reason, seconds = (
                    f"{_reason_for_rest(report)}{_resume_time(report, context)}",
                    _rest_seconds(report, context),
                )
            if reason != waiting_for:
                click.echo(f"Waiting: {reason}", err=True)
                waiting_for = reason
            stopping.wait(seconds)
            while not stopping.is_set() and sending.is_sent_by_other_processes(installation, name):
                stopping.wait(POLL_SECONDS)
    return report


def _is_over(report: SendReport, *, wait: bool) -> bool:
    """Return True if there's nothing left to wait for."""
    if report.stop_reason or report.awaits_decision or not report.delivery_counts.open:
        return True
    return not (wait or report.is_finishing_elsewhere)


def _rest_seconds(report: SendReport, context: CommandContext) -> float:
    """Return the number of seconds until something may be due again."""
    if report.next_due_at is None:
        return POLL_SECONDS
    seconds = (report.next_due_at - context.now()).total_seconds()
    return max(1.0, min(60.0, seconds))


def _reason_for_rest(report: SendReport) -> str:
    """Return the reason that part of an edition is still unsent."""
    if report.is_finishing_elsewhere:
        return "another process, such as 'digest serve', is sending the last messages"
    return report.wait_reason or "the rest is due later"


def _resume_time(report: SendReport, context: CommandContext) -> str:
    """Return the time at which sending continues, as text.

    If it continues now or the time isn't known, return an empty string.
    """
    if report.next_due_at is None or report.awaits_decision or report.next_due_at <= context.now():
        return ""
    local = report.next_due_at.astimezone(context.installation.settings.zone)
    return f" (continues {local:%A %H:%M %Z})"


def _send_test(context: CommandContext, edition: str, to: Sequence[str]) -> None:
    """Send a test, and print a line for each recipient."""
    report = sending.send_test_email(context.installation, edition, to=to, actor=context.actor, clock=context.now)
    click.echo(f"Test of {report.edition} to the team:")
    for result in report.tested:
        click.echo(f"  {result.email:40} {result.state}{f': {result.reply}' if result.reply else ''}")
    if report.stopped:
        click.echo(f"Stopped: {report.stopped}", err=True)
    if not report.arrived:
        raise SystemExit(EXIT_STILL_WAITING)

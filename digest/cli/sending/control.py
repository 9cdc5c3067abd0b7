"""The commands that control what leaves: pause, resume and cancel an edition."""

import click

from digest.app.editions.edition_status import edition_status
from digest.app.sending import control as sending
from digest.cli.context import CommandContext, because_option, edition_argument, pass_command_context, yes_option


@click.command(
    epilog="""\b
Examples:
  digest pause current --because "a wrong date in the second story"
  digest resume current

Messages being sent right now still arrive. Confirmations and other transactional emails are still sent. To pause those too,
use 'digest hold'. Exit codes: 0 paused (or already paused), 2 can't be paused."""
)
@edition_argument
@because_option
@pass_command_context
def pause(context: CommandContext, edition: str, because: str | None) -> None:
    """Pause sending an EDITION until 'digest resume'."""
    result = sending.pause_edition(
        context.installation, edition, reason=because or "", actor=context.actor, now=context.now()
    )
    outcome = "is paused" if result.changed else "was already paused"
    click.echo(f"{result.edition} {outcome}. Unsent: {result.waiting:,}.")


@click.command(
    epilog="""\b
Example:
  digest resume current

If a stop rule paused the edition, bounces and complaints so far no longer count toward the rule.
Exit codes: 0 resumed (or wasn't paused), 2 can't be resumed."""
)
@edition_argument
@pass_command_context
def resume(context: CommandContext, edition: str) -> None:
    """Resume a paused EDITION. If 'digest serve' isn't running, continue with 'digest send'."""
    result = sending.resume_edition(context.installation, edition, actor=context.actor, now=context.now())
    outcome = "has been resumed" if result.changed else "wasn't paused"
    click.echo(f"{result.edition} {outcome}.")


@click.command(
    epilog="""\b
Examples:
  digest cancel 2026-W47
  digest cancel 2026-W47 --yes            without confirmation

Exit codes: 0 canceled, 1 not confirmed, 2 can't be canceled because it's sent."""
)
@click.argument("edition")
@yes_option()
@pass_command_context
def cancel(context: CommandContext, edition: str, yes: bool) -> None:
    """Permanently cancel an EDITION for subscribers who haven't been sent it yet."""
    now = context.now()
    status = edition_status(context.installation, edition, now=now)
    counts = status.delivery_counts
    if not yes:
        click.confirm(
            (
                f"{status.name} has been sent to {counts.handed_over:,} of {counts.planned:,} subscribers. Cancel it "
                "for the others? This can't be undone."
            ),
            abort=True,
        )
    cancelled = sending.cancel_edition(context.installation, status.name, actor=context.actor, now=now)
    click.echo(f"{status.name} is canceled. Emails that won't be sent: {cancelled:,}.")

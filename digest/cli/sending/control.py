"""The `digest pause`, `digest resume`, and `digest cancel` commands.

They pause, resume, and cancel an edition, and pause and resume all sending.
"""

import click

from digest.cli.context import CommandContext, because_option, edition_argument, flag, pass_command_context, yes_option
from digest.installation import sending_pause as installation_pause


@click.command(
    epilog="""\b
Examples:
  digest pause current --because "a wrong date in the second story"
  digest resume current
  digest pause --all --because "moving to the new machine"

Messages being sent right now still arrive. Confirmations and other transactional emails are still sent, unless you use --all.
Emails to admins about security changes are always sent. Exit codes: 0 paused (or already paused), 2 can't be paused."""
)
@edition_argument
@flag("--all", "is_all", help="Pause all sending, including confirmations and erasure requests to the provider.")
@because_option
@pass_command_context
def pause(context: CommandContext, edition: str, is_all: bool, because: str | None) -> None:
    """Pause sending an EDITION, or all sending, until 'digest resume'."""
    if is_all:
        _refuse_edition()
        hold = installation_pause.pause_all_sending(
            context.installation, reason=because or "", actor=context.actor, now=context.now()
        )
        click.echo(str(hold))
        return
    from digest.app.sending import send_control as sending  # pausing all sending starts faster without it

    result = sending.pause_edition(
        context.installation, edition, reason=because or "", actor=context.actor, now=context.now()
    )
    outcome = "is paused" if result.changed else "was already paused"
    click.echo(f"{result.edition} {outcome}. Unsent: {result.waiting:,}.")


@click.command(
    epilog="""\b
Example:
  digest resume current
  digest resume --all

If a stop rule paused the edition, bounces and complaints so far no longer count toward the rule.
Exit codes: 0 resumed (or wasn't paused), 2 can't be resumed."""
)
@edition_argument
@flag("--all", "is_all", help="Resume all sending.")
@pass_command_context
def resume(context: CommandContext, edition: str, is_all: bool) -> None:
    """Resume a paused EDITION, or all sending. If 'digest serve' isn't running, continue with 'digest send'."""
    if is_all:
        _refuse_edition()
        resumed = installation_pause.resume_all_sending(context.installation, actor=context.actor, now=context.now())
        click.echo("Sending has resumed." if resumed else "Sending wasn't paused.")
        return
    from digest.app.sending import send_control as sending

    result = sending.resume_edition(context.installation, edition, actor=context.actor, now=context.now())
    outcome = "has been resumed" if result.changed else "wasn't paused"
    click.echo(f"{result.edition} {outcome}.")


def _refuse_edition() -> None:
    """Refuse EDITION together with --all, which would pause or resume more than intended."""
    source = click.get_current_context().get_parameter_source("edition")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("EDITION and --all can't be combined. Leave one of them out.")


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
    from digest.app.editions.edition_status import read_edition_status
    from digest.app.sending import send_control as sending

    now = context.now()
    status = read_edition_status(context.installation, edition, now=now)
    counts = status.delivery_counts
    if not yes:
        click.confirm(
            f"{status.name} has been sent to {counts.handed_over:,} of {counts.planned:,} subscribers. Cancel it "
            "for the others? This can't be undone.",
            abort=True,
        )
    cancelled = sending.cancel_edition(context.installation, status.name, actor=context.actor, now=now)
    click.echo(f"{status.name} is canceled. Emails that won't be sent: {cancelled:,}.")

"""The commands that control what is sent: pause and resume an edition or all sending, and cancel an edition."""

import click

from digest.app.editions.edition_status import edition_status
from digest.app.sending import control as sending
from digest.cli.context import CommandContext, because_option, edition_argument, flag, pass_command_context, yes_option
from digest.installation import hold as installation_pause


@click.command(
    epilog="""\b
Examples:
  digest pause current --because "a wrong date in the second story"
  digest resume current
  digest pause --all --because "moving to the new machine"

Messages that are being submitted still arrive; all others wait. Confirmations and other transactional emails go on; --all
stops them too, except emails to admins about guarded actions. Exit codes: 0 paused, also if it was before; 2 it can't be."""
)
@edition_argument
@flag("--all", "is_all", help="Pause all sending.")
@because_option
@pass_command_context
def pause(context: CommandContext, edition: str, is_all: bool, because: str | None) -> None:
    """Pause an EDITION, or all sending, until 'digest resume'."""
    if is_all:
        standing = installation_pause.hold_installation(
            context.installation, reason=because or "", actor=context.actor, now=context.now()
        )
        click.echo(f"This installation is {standing}")
        return
    result = sending.pause_edition(
        context.installation, edition, reason=because or "", actor=context.actor, now=context.now()
    )
    outcome = "is paused" if result.changed else "was paused already"
    click.echo(f"{result.edition} {outcome}; {result.waiting:,} deliveries wait.")


@click.command(
    epilog="""\b
Example:
  digest resume current
  digest resume --all

If a stop rule paused the edition, what it counted until now no longer counts.
Exit codes: 0 resumed, also if it wasn't paused; 2 it can't be."""
)
@edition_argument
@flag("--all", "is_all", help="Resume all sending.")
@pass_command_context
def resume(context: CommandContext, edition: str, is_all: bool) -> None:
    """Resume a paused EDITION, or all sending. 'digest serve' sends by itself; otherwise, run 'digest send'."""
    if is_all:
        released = installation_pause.release_installation(context.installation, actor=context.actor, now=context.now())
        click.echo("Sending is resumed." if released else "Sending wasn't paused.")
        return
    result = sending.resume_edition(context.installation, edition, actor=context.actor, now=context.now())
    click.echo(f"{result.edition} {'goes on' if result.changed else 'was not paused'}.")


@click.command(
    epilog="""\b
Examples:
  digest cancel 2026-W47
  digest cancel 2026-W47 --yes            without being asked

Exit codes: 0 cancelled, 1 not confirmed, 2 it can't be: it is sent."""
)
@click.argument("edition")
@yes_option()
@pass_command_context
def cancel(context: CommandContext, edition: str, yes: bool) -> None:
    """Cancel an EDITION for good: who has it keeps it, nobody else gets it."""
    now = context.now()
    status = edition_status(context.installation, edition, now=now)
    counts = status.delivery_counts
    if not yes:
        click.confirm(
            f"{counts.handed_over:,} of {counts.planned:,} readers were sent {status.name} already. Cancel it for all "
            "others? This can't be undone.",
            abort=True,
        )
    cancelled = sending.cancel_edition(context.installation, status.name, actor=context.actor, now=now)
    click.echo(f"{status.name} is cancelled; {cancelled:,} deliveries that waited will not go out.")

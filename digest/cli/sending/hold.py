"""`digest hold` and `digest release`: nothing leaves the installation, and again."""

import click

from digest.cli.context import CommandContext, because_option, pass_command_context
from digest.installation import hold as hold_acts


@click.command(
    epilog="""\b
Examples:
  digest hold --because "moving to the new machine"
  digest release

Exit codes: 0 paused (or already paused)."""
)
@because_option
@pass_command_context
def hold(context: CommandContext, because: str | None) -> None:
    """Pause all sending, including confirmations and erasure requests to the email provider.

    Only emails to admins about security changes are still sent.
    """
    standing = hold_acts.hold_installation(
        context.installation, reason=because or "", actor=context.actor, now=context.now()
    )
    click.echo(str(standing))


@click.command(epilog="\b\nExample:\n  digest release\n\nExit codes: 0 resumed (or wasn't paused).")
@pass_command_context
def release(context: CommandContext) -> None:
    """Resume sending after 'digest hold'."""
    released = hold_acts.release_installation(context.installation, actor=context.actor, now=context.now())
    click.echo("Sending has resumed." if released else "Sending wasn't paused.")

"""`digest hold` and `digest release`: nothing leaves the installation, and again."""

import click

from digest.cli.context import CommandContext, because_option, pass_command_context
from digest.installation import hold as hold_acts


@click.command(
    epilog="""\b
Examples:
  digest hold --because "moving to the new machine"
  digest release

Exit codes: 0 held, also if it was before."""
)
@because_option
@pass_command_context
def hold(context: CommandContext, because: str | None) -> None:
    """Pause all sending: no edition, no confirmation, nothing about anybody to a provider.

    Only emails that tell admins about guarded actions still leave.
    """
    standing = hold_acts.hold_installation(
        context.installation, reason=because or "", actor=context.actor, now=context.now()
    )
    click.echo(f"This installation is {standing}")


@click.command(epilog="\b\nExample:\n  digest release\n\nExit codes: 0 released, also if nothing held it.")
@pass_command_context
def release(context: CommandContext) -> None:
    """Let mail leave a held installation again."""
    released = hold_acts.release_installation(context.installation, actor=context.actor, now=context.now())
    click.echo("Mail leaves again." if released else "Nothing held this installation.")

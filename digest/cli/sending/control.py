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

What is being handed over at this moment still arrives; everybody else waits. Confirmations and other notices go on:
'digest hold' stops those too. Exit codes: 0 paused, also if it was before; 2 it can't be."""
)
@edition_argument
@because_option
@pass_command_context
def pause(context: CommandContext, edition: str, because: str | None) -> None:
    """Let the sending of an EDITION rest, from any terminal, until 'digest resume'."""
    result = sending.pause_edition(
        context.installation, edition, reason=because or "", actor=context.actor, now=context.now()
    )
    outcome = "is paused" if result.changed else "was paused already"
    click.echo(f"{result.edition} {outcome}; {result.waiting:,} deliveries wait.")


@click.command(
    epilog="""\b
Example:
  digest resume current

Where an alarm had paused it, what was said until now no longer counts against it.
Exit codes: 0 it goes on, also if it did not rest; 2 it can't."""
)
@edition_argument
@pass_command_context
def resume(context: CommandContext, edition: str) -> None:
    """Let a paused EDITION go on: by itself where 'digest serve' runs, else with 'digest send'."""
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

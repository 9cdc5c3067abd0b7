"""The commands that steer what leaves: pause, resume and cancel an edition, hold and release the installation."""

from datetime import UTC, datetime

import click

from digest.cli.common import check_reason
from digest.cli.context import CommandContext, pass_command_context
from digest.deliver.control import edition_control, installation_hold
from digest.deliver.plan.delivery_plan import HANDED_OVER_STATES, count_deliveries, edition_purpose
from digest.edition.queries import find_edition
from digest.store.delivery_models import DeliveryState

because_option = click.option(
    "--because", callback=check_reason, help="Why, in a few words: it is shown, and stands in the audit log."
)


def _edition_name(context: CommandContext, edition: str) -> str:
    with context.install.database.read() as session:
        return find_edition(session, edition).name


@click.command(
    epilog="""\b
Examples:
  digest pause current --because "a wrong date in the second story"
  digest resume current

What is being handed over at this moment still arrives; everybody else waits. Confirmations and other notices go on:
'digest hold' stops those too. Exit codes: 0 paused, also if it was before; 2 it can't be."""
)
@click.argument("edition", default="current")
@because_option
@pass_command_context
def pause(desk: CommandContext, edition: str, because: str | None) -> None:
    """Let the sending of an EDITION rest, from any terminal, until 'digest resume'."""
    name = _edition_name(desk, edition)
    with desk.install.database.write() as session:
        new = edition_control.pause_edition(session, name, because or "", actor=desk.actor.name, now=datetime.now(UTC))
        waiting = count_deliveries(session, edition_purpose(name))[DeliveryState.WAITING]
    click.echo(f"{name} {'is paused' if new else 'was paused already'}; {waiting:,} deliveries wait.")


@click.command(
    epilog="""\b
Example:
  digest resume current

Where an alarm had paused it, what was said until now no longer counts against it.
Exit codes: 0 it goes on, also if it did not rest; 2 it can't."""
)
@click.argument("edition", default="current")
@pass_command_context
def resume(desk: CommandContext, edition: str) -> None:
    """Let a paused EDITION go on: by itself where 'digest serve' runs, else with 'digest send'."""
    name = _edition_name(desk, edition)
    with desk.install.database.write() as session:
        rested = edition_control.resume_edition(session, name, actor=desk.actor.name, now=datetime.now(UTC))
    click.echo(f"{name} goes on." if rested else f"{name} was not paused.")


@click.command(
    epilog="""\b
Examples:
  digest cancel 2026-W47
  digest cancel 2026-W47 --yes            without being asked

Exit codes: 0 cancelled, 1 not confirmed, 2 it can't be: it is sent."""
)
@click.argument("edition")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_command_context
def cancel(desk: CommandContext, edition: str, yes: bool) -> None:
    """Cancel an EDITION for good: who has it keeps it, nobody else gets it."""
    name = _edition_name(desk, edition)
    with desk.install.database.read() as session:
        found = count_deliveries(session, edition_purpose(name))
    went = sum(found[state] for state in HANDED_OVER_STATES)
    if not yes:
        click.confirm(
            f"{went:,} of {found.planned:,} readers were sent {name} already. Cancel it for all others? "
            "This can't be undone.",
            abort=True,
        )
    done = edition_control.cancel_edition(
        desk.install.database, name, actor=desk.actor.name, clock=lambda: datetime.now(UTC)
    )
    click.echo(f"{name} is cancelled; {done:,} deliveries that waited will not go out.")


@click.command(
    epilog="""\b
Examples:
  digest hold --because "moving to the new machine"
  digest release

Exit codes: 0 held, also if it was before."""
)
@because_option
@pass_command_context
def hold(desk: CommandContext, because: str | None) -> None:
    """Let nothing leave this installation: no edition, no confirmation, no word about anybody to a provider."""
    with desk.install.database.write() as session:
        standing = installation_hold.hold_installation(
            session, because or "", actor=desk.actor.name, now=datetime.now(UTC)
        )
    click.echo(f"This installation is {standing}")


@click.command(epilog="\b\nExample:\n  digest release\n\nExit codes: 0 released, also if nothing held it.")
@pass_command_context
def release(desk: CommandContext) -> None:
    """Let mail leave a held installation again."""
    with desk.install.database.write() as session:
        held = installation_hold.release_installation(session, actor=desk.actor.name, now=datetime.now(UTC))
    click.echo("Mail leaves again." if held else "Nothing held this installation.")

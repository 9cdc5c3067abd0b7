"""The commands that steer what leaves: pause, resume and cancel an edition, hold and release the installation."""

from datetime import UTC, datetime

import click

from digest import weekly
from digest.cli.acting import reason_in_words
from digest.cli.context import Desk, pass_desk
from digest.deliver import holding, steering
from digest.deliver.planning import HANDED_OVER, books, purpose_of
from digest.delivery_db import DeliveryState

because = click.option(
    "--because",
    callback=reason_in_words,
    help="Why, in a few words: it is shown, and stands in the audit log.",
)


def _name(desk: Desk, edition: str) -> str:
    with desk.install.database.read() as session:
        return weekly.edition_named(session, edition).name


@click.command(
    epilog="""\b
Examples:
  digest pause current --because "a wrong date in the second story"
  digest resume current

What is being handed over at this moment still arrives; everybody else waits. Confirmations and other notices go on:
'digest hold' stops those too. Exit codes: 0 paused, also if it was before; 2 it can't be."""
)
@click.argument("edition", default="current")
@because
@pass_desk
def pause(desk: Desk, edition: str, because: str | None) -> None:
    """Let the sending of an EDITION rest, from any terminal, until 'digest resume'."""
    name = _name(desk, edition)
    with desk.install.database.write() as session:
        new = steering.pause(session, name, because or "", actor=desk.actor, now=datetime.now(UTC))
        waiting = books(session, purpose_of(name))[DeliveryState.WAITING]
    click.echo(f"{name} {'is paused' if new else 'was paused already'}; {waiting:,} deliveries wait.")


@click.command(
    epilog="""\b
Example:
  digest resume current

Where an alarm had paused it, what was said until now no longer counts against it.
Exit codes: 0 it goes on, also if it did not rest; 2 it can't."""
)
@click.argument("edition", default="current")
@pass_desk
def resume(desk: Desk, edition: str) -> None:
    """Let a paused EDITION go on: by itself where 'digest serve' runs, else with 'digest send'."""
    name = _name(desk, edition)
    with desk.install.database.write() as session:
        rested = steering.resume(session, name, actor=desk.actor, now=datetime.now(UTC))
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
@pass_desk
def cancel(desk: Desk, edition: str, yes: bool) -> None:
    """Cancel an EDITION for good: who has it keeps it, nobody else gets it."""
    name = _name(desk, edition)
    with desk.install.database.read() as session:
        found = books(session, purpose_of(name))
    went = sum(found[state] for state in HANDED_OVER)
    if not yes:
        click.confirm(
            f"{went:,} of {found.planned:,} readers were sent {name} already. Cancel it for all others? "
            "This can't be undone.",
            abort=True,
        )
    done = steering.cancel(desk.install.database, name, actor=desk.actor, clock=lambda: datetime.now(UTC))
    click.echo(f"{name} is cancelled; {done:,} deliveries that waited will not go out.")


@click.command(
    epilog="""\b
Examples:
  digest hold --because "moving to the new machine"
  digest release

Exit codes: 0 held, also if it was before."""
)
@because
@pass_desk
def hold(desk: Desk, because: str | None) -> None:
    """Let nothing leave this installation: no edition, no confirmation, no word about anybody to a provider."""
    with desk.install.database.write() as session:
        standing = holding.hold(session, because or "", actor=desk.actor, now=datetime.now(UTC))
    click.echo(f"This installation is {standing}")


@click.command(epilog="\b\nExample:\n  digest release\n\nExit codes: 0 released, also if nothing held it.")
@pass_desk
def release(desk: Desk) -> None:
    """Let mail leave a held installation again."""
    with desk.install.database.write() as session:
        held = holding.release(session, actor=desk.actor, now=datetime.now(UTC))
    click.echo("Mail leaves again." if held else "Nothing held this installation.")

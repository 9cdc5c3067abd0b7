"""`digest staff`: who works on the newsletter. Their addresses may stand on the terminal."""

import json
from datetime import UTC, datetime

import click
from rich.table import Table
from sqlalchemy.orm import Session

from digest import staff as members
from digest.cli.acting import Refused, read
from digest.cli.collect import plain_console
from digest.cli.context import Desk, pass_desk
from digest.deliver import notices
from digest.delivery_db import Staff
from digest.staff import LIFE, Role, StaffError
from subscribers.notes import Queue

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused, and why
  2  wrong use"""


@click.group(epilog="\b\nExample:\n  digest staff list")
def staff() -> None:
    """Look after the staff: editors and admins, each by an address that they prove is theirs.

    Test mails go to proven addresses. Whoever is on the staff can be named with --as: acts of theirs stand in the
    audit log as 'staff 3', by the number that 'digest staff list' shows.
    """


@staff.command(epilog=f"\b\nExample:\n  digest staff add sam@news.example.org --role editor\n\n{EXIT_CODES}")
@click.argument("email")
@click.option(
    "--role", type=click.Choice(["editor", "admin"]), required=True, help="What they may do later on."
)
@pass_desk
def add(desk: Desk, email: str, role: Role) -> None:
    """Take EMAIL on to the staff, and mail it a link: its button proves the address."""
    address, now = read(email), _now()
    try:
        with desk.install.database.write() as session:
            member = members.add(session, address, role, _queue(desk), actor=desk.actor, now=now)
            number = member.id
    except StaffError as exc:
        raise Refused(f"Not added: {exc}") from None
    click.echo(f"Added: staff {number}, {role}. {_LINK}")


@staff.command(
    "list",
    epilog="\b\nExamples:\n  digest staff list\n  digest staff list --all --json\n\nExit codes: 0 shown, 2 wrong use.",
)
@click.option("--all", "with_gone", is_flag=True, help="Also those who were on the staff.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@pass_desk
def list_(desk: Desk, with_gone: bool, as_json: bool) -> None:
    """List the staff by number: the audit log names them so."""
    with desk.install.database.read() as session:
        found = members.listed(session, with_gone=with_gone)
    if as_json:
        click.echo(json.dumps([_facts(member) for member in found], indent=2))
        return
    if not found:
        click.echo("Nobody is on the staff yet: digest staff add EMAIL --role admin")
        return
    table = Table()
    for heading in ("No.", "Address", "Role", "Proven", "Added by"):
        table.add_column(heading)
    for member in found:
        table.add_row(str(member.id), member.email, member.role, _standing(member), member.added_by)
    plain_console().print(table)


@staff.command(epilog=f"\b\nExample:\n  digest staff remove sam@news.example.org\n\n{EXIT_CODES}")
@click.argument("email")
@pass_desk
def remove(desk: Desk, email: str) -> None:
    """Let EMAIL go. The number and the address stay on record, for the audit log speaks of them."""
    with desk.install.database.write() as session:
        member = _member(session, email)
        members.remove(session, member, actor=desk.actor, now=_now())
        number = member.id
    click.echo(f"Removed: staff {number}.")


@staff.command(epilog=f"\b\nExample:\n  digest staff prove sam@news.example.org\n\n{EXIT_CODES}")
@click.argument("email")
@pass_desk
def prove(desk: Desk, email: str) -> None:
    """Mail EMAIL the link again; an earlier link ends."""
    try:
        with desk.install.database.write() as session:
            members.mail_link(session, _member(session, email), _queue(desk), actor=desk.actor, now=_now())
    except StaffError as exc:
        raise Refused(f"Nothing was mailed: {exc}") from None
    click.echo(_LINK)


_LINK = f"A link is on its way ('digest serve' or hls-scheduler mails it); it works for {LIFE.days} days."


def _now() -> datetime:
    return datetime.now(UTC)


def _queue(desk: Desk) -> Queue:
    return notices.queue(desk.install.keys, desk.install.settings, _now)


def _member(session: Session, email: str) -> Staff:
    member = members.named(session, read(email).mailbox)
    if member is None:
        raise Refused("Nobody on the staff has this address. See 'digest staff list'.")
    return member


def _standing(member: Staff) -> str:
    if member.removed_at is not None:
        return f"gone since {member.removed_at:%Y-%m-%d}"
    return f"{member.proven_at:%Y-%m-%d}" if member.proven_at else "not yet"


def _facts(member: Staff) -> dict[str, str | int | None]:
    moments = {"added_at": member.added_at, "proven_at": member.proven_at, "removed_at": member.removed_at}
    said = {name: at.isoformat() if at else None for name, at in moments.items()}
    return {
        "number": member.id,
        "email": member.email,
        "role": member.role,
        "added_by": member.added_by,
        **said,
    }

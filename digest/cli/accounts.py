"""`digest staff`: who works on the newsletter. Their addresses may stand on the terminal."""

from collections.abc import Iterator, Sequence

import click
from rich.console import RenderableType
from rich.table import Table

from digest.app.accounts import staff as staff_acts
from digest.app.accounts.sign_in import make_sign_in_link
from digest.cli.context import (
    CommandContext,
    email_argument,
    flag,
    json_option,
    label_refusals,
    pass_command_context,
    pick_fields,
    print_answer,
)
from digest.store.delivery_models import StaffMember
from digest.store.staff import PROOF_LINK_LIFETIME, StaffRole
from subscribers.address import Address

EXIT_CODES_HELP = """\b
Exit codes:
  0  done
  1  refused, and why
  2  wrong use"""


@click.group(epilog="\b\nExample:\n  digest staff list")
def staff() -> None:
    """Look after the staff: editors and admins, who sign in at the desk by an address that they prove is theirs.

    Test mails go to proven addresses. Whoever is on the staff can be named with --as: acts of theirs stand in the
    audit log as 'staff 3', by the number that 'digest staff list' shows.
    """


role_option = click.option("--role", type=click.Choice(["editor", "admin"]), required=True, help="What they may do.")


@staff.command(
    "add", epilog=f"\b\nExample:\n  digest staff add sam@news.example.org --role editor\n\n{EXIT_CODES_HELP}"
)
@email_argument
@role_option
@click.option("--name", default="", help="Their name, as colleagues see it.")
@pass_command_context
def add_member(context: CommandContext, address: Address, role: StaffRole, name: str) -> None:
    """Take EMAIL on to the staff, and mail an invitation: its button proves the address and signs them in."""
    with label_refusals("Not added"):
        member = context.act(staff_acts.add_staff_member, address, role, name=name, now=context.now())
    click.echo(f"Added: staff {member.id}, {role}. {_LINK_MESSAGE}")


@staff.command(
    "role", epilog=f"\b\nExample:\n  digest staff role sam@news.example.org --role admin\n\n{EXIT_CODES_HELP}"
)
@email_argument
@role_option
@pass_command_context
def change_role(context: CommandContext, address: Address, role: StaffRole) -> None:
    """Give EMAIL another role. They are signed out everywhere, and sign in again as what they are then."""
    with label_refusals("Not changed"):
        member = context.act(staff_acts.change_staff_role, address, role, now=context.now())
    click.echo(f"Staff {member.id} is an {member.role}.")


@staff.command("link", epilog=f"\b\nExample:\n  digest staff link sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def make_link(context: CommandContext, address: Address) -> None:
    """Print a link that signs EMAIL in once, within an hour: for the first sign-in, and for who is locked out."""
    with label_refusals("No link"):
        link = context.act(make_sign_in_link, address.mailbox, now=context.now())
    click.echo(link)


@staff.command("reset", epilog=f"\b\nExample:\n  digest staff reset sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def reset(context: CommandContext, address: Address) -> None:
    """Take from EMAIL all passkeys, the password, the app and the recovery codes, end all sessions, and print a sign-in link."""
    with label_refusals("Not reset"):
        member = context.act(staff_acts.reset_staff_sign_in, address, now=context.now())
        link = context.act(make_sign_in_link, address.mailbox, now=context.now())
    click.echo(f"Staff {member.id} is signed out, and nothing signs them in but this link, once, within an hour:")
    click.echo(link)


@staff.command(
    "list",
    epilog="\b\nExamples:\n  digest staff list\n  digest staff list --all --json\n\nExit codes: 0 shown, 2 wrong use.",
)
@flag("--all", "with_gone", help="Also those who were on the staff.")
@json_option("Print the list as JSON.")
@pass_command_context
def list_staff(context: CommandContext, with_gone: bool, as_json: bool) -> None:
    """List the staff by number, as the audit log names them, and count refused sign-ins."""
    members = context.act(staff_acts.list_staff_members, include_removed=with_gone, now=context.now())
    found = [_member_as_json(member) for member in members]
    print_answer(found, _describe_staff(context, members), as_json=as_json, indent=2)


def _describe_staff(context: CommandContext, members: Sequence[StaffMember]) -> Iterator[RenderableType]:
    if not members:
        yield "Nobody is on the staff yet: digest staff add EMAIL --role admin"
        return
    table = Table("No.", "Address", "Name", "Role", "Proven", "Added by")
    for member in members:
        proof = _proof_status(member)
        table.add_row(str(member.id), _address_of(member), member.name, member.role, proof, member.added_by)
    yield table
    yield context.act(staff_acts.count_refused_sign_ins, now=context.now()).sentence


@staff.command(epilog=f"\b\nExample:\n  digest staff remove sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def remove(context: CommandContext, address: Address) -> None:
    """Let EMAIL go, signed out everywhere. The address goes; the number and the name stay on record, for the audit log speaks of them."""
    member = context.act(staff_acts.remove_staff_member, address, now=context.now())
    click.echo(f"Removed: staff {member.id}.")


@staff.command(epilog=f"\b\nExample:\n  digest staff prove sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def prove(context: CommandContext, address: Address) -> None:
    """Mail EMAIL the link again; an earlier link ends."""
    with label_refusals("Nothing was mailed"):
        context.act(staff_acts.mail_proof_link, address, now=context.now())
    click.echo(_LINK_MESSAGE)


_LINK_MESSAGE = f"The mail with the link goes out while 'digest serve' or hls-scheduler runs; it works for {PROOF_LINK_LIFETIME.days} days."


def _proof_status(member: StaffMember) -> str:
    if member.removed_at is not None:
        return f"gone since {member.removed_at:%Y-%m-%d}"
    return f"{member.proven_at:%Y-%m-%d}" if member.proven_at else "not yet"


def _address_of(member: StaffMember) -> str:
    """Return the address of a member; nothing of one who was removed."""
    return "" if member.removed_at is not None else member.email


def _member_as_json(member: StaffMember) -> dict[str, object]:
    names = ("name", "role", "added_by", "added_at", "proven_at", "removed_at")
    return {"number": member.id, "email": _address_of(member)} | pick_fields(member, *names)

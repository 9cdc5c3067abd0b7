"""The `digest staff` command, which manages the team.

The addresses of the team's members may be shown in the terminal.
"""

from collections.abc import Iterator, Sequence

import click
from rich.console import RenderableType
from rich.table import Table

from digest.app.accounts import staff as staff_actions
from digest.app.accounts.sign_in import make_sign_in_link
from digest.cli.context import (
    CommandContext,
    email_argument,
    flag,
    json_option,
    pass_command_context,
    pick_json_fields,
    prefix_refusals,
    print_result,
)
from digest.store.delivery_models import StaffMember
from digest.store.staff import PROOF_LINK_LIFETIME, StaffRole
from subscribers.address import Address

EXIT_CODES_HELP = """\b
Exit codes:
  0  done
  1  refused
  2  usage error"""


@click.group(epilog="\b\nExample:\n  digest staff list")
def staff() -> None:
    """Manage the team (editors and admins).

    Test emails go to team members with a verified address. To act as a team member, use --as. The audit log records
    their actions as 'staff 3', with the number from 'digest staff list'.
    """


role_option = click.option(
    "--role", type=click.Choice(["editor", "admin"]), required=True, help="Role of the team member."
)


@staff.command(
    "add", epilog=f"\b\nExample:\n  digest staff add sam@news.example.org --role editor\n\n{EXIT_CODES_HELP}"
)
@email_argument
@role_option
@click.option("--name", default="", help="Name shown to the team.")
@pass_command_context
def add_member(context: CommandContext, address: Address, role: StaffRole, name: str) -> None:
    """Add EMAIL to the team, and email an invitation."""
    with prefix_refusals("Not added"):
        member = context.act(staff_actions.add_staff_member, address, role, name=name, now=context.now())
    click.echo(f"Added team member {member.id} ({role}). {_LINK_MESSAGE}")


@staff.command(
    "role", epilog=f"\b\nExample:\n  digest staff role sam@news.example.org --role admin\n\n{EXIT_CODES_HELP}"
)
@email_argument
@role_option
@pass_command_context
def change_role(context: CommandContext, address: Address, role: StaffRole) -> None:
    """Change the role of EMAIL. They're signed out everywhere, or get a new invitation if they haven't accepted theirs."""
    with prefix_refusals("Not changed"):
        member = context.act(staff_actions.change_staff_role, address, role, now=context.now())
    click.echo(f"The role of team member {member.id} is now {member.role}.")


@staff.command("link", epilog=f"\b\nExample:\n  digest staff link sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def print_sign_in_link(context: CommandContext, address: Address) -> None:
    """Print a link that signs EMAIL in once, within an hour."""
    with prefix_refusals("No link"):
        link = context.act(make_sign_in_link, address.mailbox, now=context.now())
    click.echo(link)


@staff.command("reset", epilog=f"\b\nExample:\n  digest staff reset sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def reset_member_sign_in(context: CommandContext, address: Address) -> None:
    """Delete the passkeys, password, app, and recovery codes of EMAIL, sign them out, and print a sign-in link."""
    with prefix_refusals("Not reset"):
        member = context.act(staff_actions.reset_staff_sign_in, address, now=context.now())
        link = context.act(make_sign_in_link, address.mailbox, now=context.now())
    click.echo(f"Team member {member.id} is signed out everywhere. This link signs them in once, within an hour:")
    click.echo(link)


@staff.command(
    "list",
    epilog="\b\nExamples:\n  digest staff list\n  digest staff list --all --json\n\nExit codes: 0 shown, 2 usage error.",
)
@flag("--all", "with_gone", help="Include people who were removed.")
@json_option("Print the list as JSON.")
@pass_command_context
def list_staff(context: CommandContext, with_gone: bool, as_json: bool) -> None:
    """List team members with their audit-log numbers, and count rejected sign-ins."""
    members = context.act(staff_actions.list_staff_members, include_removed=with_gone, now=context.now())
    member_rows = [_member_as_json(member) for member in members]
    print_result(member_rows, _describe_staff(context, members), as_json=as_json, indent=2)


def _describe_staff(context: CommandContext, members: Sequence[StaffMember]) -> Iterator[RenderableType]:
    if not members:
        yield "There are no team members yet. Add one: digest staff add EMAIL --role admin"
        return
    table = Table("No.", "Address", "Name", "Role", "Proven", "Added by")
    for member in members:
        proof = _proof_status(member)
        address = _address_of(member)
        table.add_row(str(member.id), address, member.name, member.role, proof, member.added_by)
    yield table
    yield context.act(staff_actions.count_refused_sign_ins, now=context.now()).sentence


@staff.command(epilog=f"\b\nExample:\n  digest staff remove sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def remove(context: CommandContext, address: Address) -> None:
    """Remove EMAIL from the team and sign them out. The audit log keeps their name and number."""
    member = context.act(staff_actions.remove_staff_member, address, now=context.now())
    click.echo(f"Removed team member {member.id}.")


@staff.command(epilog=f"\b\nExample:\n  digest staff verify sam@news.example.org\n\n{EXIT_CODES_HELP}")
@email_argument
@pass_command_context
def verify(context: CommandContext, address: Address) -> None:
    """Send EMAIL a new verification link."""
    with prefix_refusals("No email sent"):
        context.act(staff_actions.send_address_verification_link, address, now=context.now())
    click.echo(_LINK_MESSAGE)


_LINK_MESSAGE = f"'digest serve' or hls-scheduler emails the link, which expires in {PROOF_LINK_LIFETIME.days} days."


def _proof_status(member: StaffMember) -> str:
    if member.removed_at is not None:
        return f"removed {member.removed_at:%Y-%m-%d}"
    return f"{member.proven_at:%Y-%m-%d}" if member.proven_at else "not yet"


def _address_of(member: StaffMember) -> str:
    """Return the address of a member, or an empty string if the member was removed."""
    return "" if member.removed_at is not None else member.email


def _member_as_json(member: StaffMember) -> dict[str, object]:
    names = ("name", "role", "added_by", "added_at", "proven_at", "removed_at")
    return {"number": member.id, "email": _address_of(member)} | pick_json_fields(member, *names)

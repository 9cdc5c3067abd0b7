"""`digest subscribers show`, `erase`, `suppress` and `allow`: one person's rights, by an admin's hand."""

import json
from datetime import UTC, datetime

import click

from digest.app import people
from digest.cli.common import check_reason, read_email_argument
from digest.cli.context import CommandContext, pass_command_context


@click.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers show - > ada.json
  echo ada@example.org | digest subscribers show - --form html > ada.html       to print

\b
Exit codes:
  0  shown
  1  no such person
  2  wrong use"""
)
@click.argument("email")
@click.option(
    "--reason",
    default="a look at the record",
    show_default=True,
    callback=check_reason,
    help="Why; the person sees it among the passages of their address.",
)
@click.option("--form", type=click.Choice(["json", "html"]), default="json", show_default=True)
@pass_command_context
def show(context: CommandContext, email: str, reason: str, form: str) -> None:
    """Show all that is held of one person (ISO/IEC TS 27560): consent with its words, and disclosures.

    The look is itself a passage of the address: the person can see that it happened.
    """
    installation, address = context.installation, read_email_argument(email)
    record = people.show_person(installation, context.actor, address, reason, now=datetime.now(UTC))
    if form == "html":
        click.echo(people.render_record_page(installation, record))
    else:
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))


@click.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers erase - --reason "asked by letter"

\b
Exit codes:
  0  the person is erased, now or before
  1  no such person
  2  wrong use"""
)
@click.argument("email")
@click.option("--reason", required=True, callback=check_reason, help="Why, for the ledger. No names or addresses.")
@pass_command_context
def erase(context: CommandContext, email: str, reason: str) -> None:
    """Erase one person: the address goes for good, and a keyed hash of it keeps later imports away."""
    address = read_email_argument(email)
    number = people.erase_subscriber(context.installation, context.actor, address, reason, now=datetime.now(UTC))
    click.echo(f"Erased: person {number}.")


@click.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers suppress - --reason "asked never to be written to"

\b
Exit codes:
  0  the address is suppressed, now or before
  1  no address
  2  wrong use"""
)
@click.argument("email")
@click.option("--reason", required=True, callback=check_reason, help="Why, for the audit log. No names or addresses.")
@pass_command_context
def suppress(context: CommandContext, email: str, reason: str) -> None:
    """Bar one address, whether or not it is on the list: no import and no form brings it back."""
    address = read_email_argument(email)
    people.suppress_address(context.installation, context.actor, address, reason, now=datetime.now(UTC))
    click.echo("Suppressed.")


@click.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers allow - --reason "wrote that the complaint was a slip"

\b
Exit codes:
  0  they may sign up again
  1  the address is not suppressed
  2  wrong use"""
)
@click.argument("email")
@click.option("--reason", required=True, callback=check_reason, help="Why, for the audit log. No names or addresses.")
@pass_command_context
def allow(context: CommandContext, email: str, reason: str) -> None:
    """Let somebody who complained, or was barred, sign up again. Nobody is on the list before they confirm."""
    address = read_email_argument(email)
    people.allow_signup(context.installation, context.actor, address, reason, now=datetime.now(UTC))
    click.echo("Allowed: their own form and confirmation bring them back, and nothing else does.")

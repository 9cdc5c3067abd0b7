"""`digest subscribers show`, `erase`, `suppress` and `allow`: one person's rights, by an admin's hand."""

import json
from datetime import UTC, datetime

import click
from sqlalchemy.orm import Session

from digest.cli.common import CommandRefusedError, check_reason, read_email_argument, record_audit
from digest.cli.context import CommandContext, pass_command_context
from digest.deliver.retention.delivery_disclosures import delivery_disclosures
from digest.deliver.retention.person_erasure import make_erasure_callback
from digest.templating import create_jinja_environment
from subscribers.address import Address
from subscribers.consent import disclosures, readable_record, suppression
from subscribers.consent.departure_log import DepartureLog
from subscribers.lifecycle.erasure import erase_person
from subscribers.store import people
from subscribers.store.models import Person
from subscribers.transfer.exports import DataController, build_person_record, disclosure_as_json


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
def show(desk: CommandContext, email: str, reason: str, form: str) -> None:
    """Show all that is held of one person (ISO/IEC TS 27560): consent with its words, and disclosures.

    The look is itself a passage of the address: the person can see that it happened.
    """
    install, now = desk.install, datetime.now(UTC)
    with install.database.write() as session:
        number = _find_person(session, desk, read_email_argument(email)).number
        disclosures.record_disclosures(session, [number], to_whom="our staff", why=reason, reference="", now=now)
        record_audit(session, desk, "subscriber shown", f"person {number}", {"why": reason})
        found = build_person_record(
            session,
            install.keys,
            number,
            controller=_data_controller(desk),
            now=now,
            other_disclosures=map(disclosure_as_json, delivery_disclosures(session, number, install.settings)),
        )
    if form == "html" and found is not None:
        page = create_jinja_environment(install.settings.templates).get_template("web/record.html")
        click.echo(page.render(record=readable_record.make_record_readable(found)))
    else:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _data_controller(context: CommandContext) -> DataController:
    file = context.settings.file
    return DataController(
        file.publication.name, file.sender.reply_to, file.sender.postal_address, file.publication.site
    )


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
def erase(desk: CommandContext, email: str, reason: str) -> None:
    """Erase one person: the address goes for good, and a keyed hash of it keeps later imports away."""
    install, now = desk.install, datetime.now(UTC)
    journal = DepartureLog(install.settings.left_log, install.keys)
    address = read_email_argument(email)
    with install.database.write() as session:
        number = _find_person(session, desk, address).number
        erase_person(
            session,
            install.keys,
            journal,
            number,
            method=f"admin: {reason}",
            forget_elsewhere=make_erasure_callback(install.keys, lambda: now),
            now=now,
            address=address,
        )
        record_audit(session, desk, "subscriber erased", f"person {number}", {"why": reason})
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
def suppress(desk: CommandContext, email: str, reason: str) -> None:
    """Bar one address, whether or not it is on the list: no import and no form brings it back."""
    install, now = desk.install, datetime.now(UTC)
    address = read_email_argument(email)
    journal = DepartureLog(install.settings.left_log, install.keys)
    with install.database.write() as session:
        number = people.find_person_number(session, install.keys, address)
        suppression.suppress_address(
            session, install.keys, address, reason="by an admin", actor=desk.actor.name, now=now, departure_log=journal
        )
        subject = "an address" if number is None else f"person {number}"
        record_audit(session, desk, "address suppressed", subject, {"why": reason})
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
def allow(desk: CommandContext, email: str, reason: str) -> None:
    """Let somebody who complained, or was barred, sign up again. Nobody is on the list before they confirm."""
    install = desk.install
    address = read_email_argument(email)
    with install.database.write() as session:
        if not suppression.allow_signup(session, install.keys, address):
            raise CommandRefusedError("The address is not suppressed: nothing stands in the way of its owner.")
        record_audit(session, desk, "sign-up allowed", "an address", {"why": reason})
    click.echo("Allowed: their own form and confirmation bring them back, and nothing else does.")


def _find_person(session: Session, context: CommandContext, address: Address) -> Person:
    """Find a person, or say what is known of the address without them."""
    number = people.find_person_number(session, context.install.keys, address)
    person = session.get(Person, number) if number else None
    if person is not None:
        return person
    barred = suppression.find_suppression(session, context.install.keys, address)
    known = "" if barred is None else f" It is suppressed: {barred.reason}, {barred.at:%Y-%m-%d}."
    raise CommandRefusedError(f"Nobody of this address is on the list.{known}")

"""`digest subscribers show`, `erase`, `suppress` and `allow`: one person's rights, by an admin's hand."""

import json
from datetime import UTC, datetime

import click
from sqlalchemy.orm import Session

from digest.cli.acting import Refused, audit, read, reason_in_words
from digest.cli.context import Desk, pass_desk
from digest.deliver.forgetting import everywhere
from digest.deliver.passages import deliveries_of
from digest.templating import environment
from subscribers import disclosures, people, records, suppression
from subscribers.addresses import Address
from subscribers.db import Person
from subscribers.erasing import erase as erase_person
from subscribers.journal import Journal
from subscribers.transfer.exporting import Controller, passage_as_json, record


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
    callback=reason_in_words,
    help="Why; the person sees it among the passages of their address.",
)
@click.option("--form", type=click.Choice(["json", "html"]), default="json", show_default=True)
@pass_desk
def show(desk: Desk, email: str, reason: str, form: str) -> None:
    """Show all that is held of one person (ISO/IEC TS 27560): consent with its words, and disclosures.

    The look is itself a passage of the address: the person can see that it happened.
    """
    install, now = desk.install, datetime.now(UTC)
    with install.database.write() as session:
        number = _number(session, desk, read(email)).number
        disclosures.record(session, [number], to_whom="our staff", why=reason, reference="", now=now)
        audit(session, desk, "subscriber shown", f"person {number}", {"why": reason})
        found = record(
            session,
            install.keys,
            number,
            controller=_controller(desk),
            now=now,
            others=map(passage_as_json, deliveries_of(session, number, install.settings)),
        )
    if form == "html" and found is not None:
        page = environment(install.settings.templates).get_template("web/record.html")
        click.echo(page.render(record=records.readable(found)))
    else:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _controller(desk: Desk) -> Controller:
    file = desk.settings.file
    return Controller(
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
@click.option(
    "--reason", required=True, callback=reason_in_words, help="Why, for the ledger. No names or addresses."
)
@pass_desk
def erase(desk: Desk, email: str, reason: str) -> None:
    """Erase one person: the address goes for good, and a keyed hash of it keeps later imports away."""
    install, now = desk.install, datetime.now(UTC)
    journal = Journal(install.settings.left_log, install.keys)
    address = read(email)
    with install.database.write() as session:
        number = _number(session, desk, address).number
        erase_person(
            session,
            install.keys,
            journal,
            number,
            method=f"admin: {reason}",
            forget=everywhere(install.keys, lambda: now),
            now=now,
            address=address,
        )
        audit(session, desk, "subscriber erased", f"person {number}", {"why": reason})
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
@click.option(
    "--reason", required=True, callback=reason_in_words, help="Why, for the audit log. No names or addresses."
)
@pass_desk
def suppress(desk: Desk, email: str, reason: str) -> None:
    """Bar one address, whether or not it is on the list: no import and no form brings it back."""
    install, now = desk.install, datetime.now(UTC)
    address = read(email)
    journal = Journal(install.settings.left_log, install.keys)
    with install.database.write() as session:
        number = people.number_of(session, install.keys, address)
        suppression.suppress(
            session,
            install.keys,
            address,
            reason="by an admin",
            actor=desk.actor,
            now=now,
            journal=journal,
        )
        subject = "an address" if number is None else f"person {number}"
        audit(session, desk, "address suppressed", subject, {"why": reason})
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
@click.option(
    "--reason", required=True, callback=reason_in_words, help="Why, for the audit log. No names or addresses."
)
@pass_desk
def allow(desk: Desk, email: str, reason: str) -> None:
    """Let somebody who complained, or was barred, sign up again. Nobody is on the list before they confirm."""
    install = desk.install
    address = read(email)
    with install.database.write() as session:
        if not suppression.allow(session, install.keys, address):
            raise Refused("The address is not suppressed: nothing stands in the way of its owner.")
        audit(session, desk, "sign-up allowed", "an address", {"why": reason})
    click.echo("Allowed: their own form and confirmation bring them back, and nothing else does.")


def _number(session: Session, desk: Desk, address: Address) -> Person:
    """Find a person, or say what is known of the address without them."""
    number = people.number_of(session, desk.install.keys, address)
    person = session.get(Person, number) if number else None
    if person is not None:
        return person
    barred = suppression.find(session, desk.install.keys, address)
    known = "" if barred is None else f" It is suppressed: {barred.reason}, {barred.at:%Y-%m-%d}."
    raise Refused(f"Nobody of this address is on the list.{known}")

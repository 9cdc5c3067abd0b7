"""`digest subscribers`: people by hand, one at a time, each with the evidence of their consent."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import click
from sqlalchemy.orm import Session

from digest.cli.common import CommandRefusedError
from digest.cli.context import MOMENT, CommandContext, pass_command_context
from digest.cli.progress_bar import show_progress
from digest.cli.subscribers.ask import ask
from digest.cli.subscribers.import_export import export, import_list
from digest.cli.subscribers.pull import pull
from digest.cli.subscribers.rights import allow, erase, show, suppress
from digest.store.models import AuditEntry
from subscribers.address import AddressError, read_address
from subscribers.consent import audience, seals
from subscribers.consent.departure_log import DepartureLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence, SignupRefusedError
from subscribers.store import people
from subscribers.store.models import ConsentKind


@click.group(epilog="\b\nExample:\n  digest subscribers list")
def subscribers() -> None:
    """Look after the list: add, withdraw, count, and prove the consent ledger.

    Where a command wants EMAIL, `-` reads it from standard input: what stands on a command line stays in the
    shell's history and is seen by every user of the machine while the command runs.
    """


@subscribers.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers add - --where hls.today --on 2026-03-04 \\
      --method "double opt-in at the old service" --confirmed --wording "Yes, send me the weekly digest."
  digest subscribers add bo@example.org --where "Border expo, Denver" --on 2026-06-02T10:00 \\
      --method "signed paper list" --wording "Please send me the weekly digest." --language en

\b
Exit codes:
  0  added, or subscribed already
  1  refused: no address, suppressed, or its owner left
  2  wrong use"""
)
@click.argument("email")
@click.option("--wording", required=True, help="The exact words that the person agreed to.")
@click.option("--wording-version", default="1", show_default=True, help="Which version of those words it was.")
@click.option("--language", default="en", show_default=True, help="The language of the words.")
@click.option("--where", "page", required=True, help="Where they stood: a site or an occasion. Readers see it.")
@click.option("--method", "--evidence", required=True, help="What proves it: 'signed paper list', 'double opt-in'.")
@click.option("--on", "agreed", type=MOMENT, required=True, help="When the person agreed.")
@click.option("--confirmed", is_flag=True, help="The person confirmed by mail; otherwise you attest it.")
@pass_command_context
def add(desk: CommandContext, /, email: str, confirmed: bool, agreed: datetime, **said: str) -> None:
    """Add one person, with the evidence that they asked for it. Nobody is mailed by this."""
    now = datetime.now(UTC)
    evidence = ConsentEvidence(
        **said,
        actor=desk.actor.name,
        agreed_at=desk.moment_or_now(agreed),
        kind=ConsentKind.CONFIRMED if confirmed else ConsentKind.ATTESTED,
    )
    install = desk.install
    try:
        with install.database.write() as session:
            added = manual_signup.add_subscriber(session, install.keys, _read_email(email), evidence=evidence, now=now)
            if not added.already_subscribed:
                _record_audit(session, desk, "subscriber added", added.number, evidence.method)
    except (AddressError, SignupRefusedError) as exc:
        raise CommandRefusedError(f"Not added: {exc}") from None
    click.echo(
        f"Subscribed already: person {added.number}." if added.already_subscribed else f"Added: person {added.number}."
    )


@subscribers.command(
    "list", epilog="\b\nExample:\n  digest subscribers list --json\n\nExit codes: 0 shown, 2 wrong use."
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@pass_command_context
def list_person_states(desk: CommandContext, as_json: bool) -> None:
    """Count people by where they stand; addresses are never shown."""
    with desk.install.database.read() as session:
        counts = {str(state): count for state, count in audience.count_people_by_state(session).items()}
    if as_json:
        click.echo(json.dumps(counts))
        return
    for state, count in counts.items():
        click.echo(f"{state:12} {count:>9,}")


@subscribers.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers withdraw - --reason "asked by phone"

\b
Exit codes:
  0  the person is off the list, now or before
  1  no such person
  2  wrong use"""
)
@click.argument("email")
@click.option("--reason", required=True, help="Why, for the ledger: 'asked by phone'. No names or addresses.")
@pass_command_context
def withdraw(desk: CommandContext, email: str, reason: str) -> None:
    """Take one person off the list, as if they had left by themselves."""
    install = desk.install
    journal = DepartureLog(install.settings.left_log, install.keys)
    try:
        with install.database.write() as session:
            number = people.find_person_number(session, install.keys, read_address(_read_email(email)))
            if number is None:
                raise CommandRefusedError("Nobody of this address is on the list.")
            left = unsubscribe_person(session, journal, number, method=f"admin: {reason}", now=datetime.now(UTC))
            if left.changed:
                _record_audit(session, desk, "subscriber withdrawn", number, reason)
    except AddressError as exc:
        raise CommandRefusedError(f"Not withdrawn: {exc}") from None
    click.echo(f"Withdrawn: person {number}." if left.changed else f"Person {number} had left before.")


@subscribers.command(
    epilog="""\b
Examples:
  digest subscribers verify
  digest subscribers verify --seal 4f0c6a1b9d27       a seal that came by mail
  digest subscribers verify --json

\b
What this cannot prove:
  that a consent was true when it was recorded: only that its record is what it was;
  anything since the last seal, against somebody who can write to the database;
  anything at all against somebody who replaced database and seals together, unless
  a seal that was kept elsewhere is named with --seal.

\b
Exit codes:
  0  every chain and every seal holds
  1  a link or a seal is broken; the first is named
  2  wrong use"""
)
@click.option(
    "--seal", "kept", multiple=True, metavar="HASH", help="A seal that was kept: it must be there. Repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print the finding as JSON.")
@pass_command_context
def verify(desk: CommandContext, kept: tuple[str, ...], as_json: bool) -> None:
    """Prove the consent ledger.

    Checks every link of every person's chain and where they stand by it, then every nightly seal against the
    chains as they stood that night.
    """
    if short := [one for one in kept if len(one) < 12]:
        raise click.BadParameter(f"{short[0]!r}: give at least the first 12 digits of a seal.")
    with desk.install.database.read() as session, show_progress("Verifying", shown=not as_json) as progress:
        proof = seals.prove_ledger(session, kept_hashes=kept, progress=progress)
    if as_json:
        click.echo(json.dumps({key: value for key, value in asdict(proof).items() if key != "survey"}))
    else:
        click.echo(_describe_proof(proof))
    if not proof.sound:
        click.get_current_context().exit(1)


def _describe_proof(proof: seals.LedgerProof) -> str:
    if proof.broken is not None:
        return f"Broken: person {proof.broken.person}, link {proof.broken.seq}: {proof.broken.fault}."
    if proof.fault:
        return f"Broken: {proof.fault}."
    counted = f"{proof.people:,} people, {proof.links:,} links, {proof.seals:,} seals"
    return f"{counted}: every chain and every seal holds."


def _read_email(email: str) -> str:
    return sys.stdin.readline().strip() if email == "-" else email


def _record_audit(session: Session, context: CommandContext, act: str, person_number: int, reason: str) -> None:
    at = datetime.now(UTC)
    session.add(
        AuditEntry(at=at, actor=context.actor.name, act=act, subject=f"person {person_number}", detail={"why": reason})
    )


for command in (import_list, ask, export, show, erase, suppress, allow, pull):
    subscribers.add_command(command)

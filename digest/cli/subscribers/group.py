"""`digest subscribers`: people by hand, one at a time, each with the evidence of their consent."""

import json
import sys
from dataclasses import asdict
from datetime import datetime

import click

from digest.app.subscribers import consent_wordings, people
from digest.cli.context import (
    MOMENT,
    CommandContext,
    check_reason,
    email_argument,
    flag,
    json_option,
    label_refusals,
    pass_command_context,
    person_argument,
    reason_option,
)
from digest.cli.lazy_group import LazyGroup
from digest.cli.terminal import show_progress
from digest.store.audit_chain import AuditProof
from subscribers.address import Address
from subscribers.consent.seals import LedgerProof
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store.models import ConsentKind


@click.group(
    cls=LazyGroup,
    command_places={
        "import": "digest.cli.subscribers.import_export:import_list",
        **{name: f"digest.cli.subscribers.import_export:{name}" for name in ("export", "ask", "pull")},
    },
    epilog="\b\nExample:\n  digest subscribers list",
)
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
@flag("--confirmed", help="The person confirmed by mail; otherwise you attest it.")
@pass_command_context
def add(context: CommandContext, /, email: str, confirmed: bool, agreed: datetime, **evidence_fields: str) -> None:
    """Add one person, with the evidence that they asked for it. Nobody is mailed by this."""
    evidence = ConsentEvidence(
        **evidence_fields,
        actor=context.actor.name,
        agreed_at=context.moment_or_now(agreed),
        kind=ConsentKind.CONFIRMED if confirmed else ConsentKind.ATTESTED,
    )
    address = sys.stdin.readline().strip() if email == "-" else email
    with label_refusals("Not added"):
        signup = context.act(people.add_person, address, evidence, now=context.now())
    click.echo(f"{'Subscribed already' if signup.already_subscribed else 'Added'}: person {signup.number}.")


@subscribers.command(
    "list", epilog="\b\nExample:\n  digest subscribers list --json\n\nExit codes: 0 shown, 2 wrong use."
)
@json_option("Print the counts as JSON.")
@pass_command_context
def list_person_states(context: CommandContext, as_json: bool) -> None:
    """Count people by where they stand; addresses are never shown."""
    counts = context.act(people.count_people, now=context.now())
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
@email_argument
@reason_option("ledger")
@pass_command_context
def withdraw(context: CommandContext, address: Address, reason: str) -> None:
    """Take one person off the list, as if they had left by themselves."""
    number, was_listed = context.act(people.withdraw_person, address, reason, now=context.now())
    click.echo(f"Withdrawn: person {number}." if was_listed else f"Person {number} had left before.")


@subscribers.command(
    epilog="""\b
Examples:
  digest subscribers verify
  digest subscribers verify --seal 4f0c6a1b9d27       a seal that came by mail
  digest subscribers verify --json

\b
What this cannot prove:
  that a consent was true when it was recorded: only that its record is what it was;
  anything against somebody who can write to the database, for the time since the last
  seal that was kept elsewhere (they come by mail): name it with --seal.

\b
Exit codes:
  0  every chain, address and seal holds
  1  a link, an address, a seal or a row does not hold; the first are named, people by their numbers
  2  wrong use"""
)
@click.option(
    "--seal", "kept", multiple=True, metavar="HASH", help="A seal that was kept: it must be there. Repeatable."
)
@json_option("Print the finding as JSON.")
@pass_command_context
def verify(context: CommandContext, kept: tuple[str, ...], as_json: bool) -> None:
    """Prove the consent ledger and the audit log.

    Checks every link of every person's chain and where they stand by it, each stored address against the one that
    the chain is bound to, then every nightly seal against the
    chains and the suppressions as they stood that night, every delivery and other disclosure against the commitment that was
    sealed, and every row of the audit log against the one before it.
    """
    if short := [seal for seal in kept if len(seal) < 12]:
        raise click.BadParameter(f"{short[0]!r}: give at least the first 12 digits of a seal.")
    with show_progress("Verifying", shown=not as_json) as progress:
        proof, log = context.act(people.verify_ledger, kept_hashes=kept, now=context.now(), progress=progress)
    if as_json:
        found = {key: value for key, value in asdict(proof).items() if key != "survey"}
        click.echo(json.dumps(found | {"audit_log": asdict(log)}))
    else:
        click.echo(_describe_proof(proof, log))
    if not proof.sound or log.fault:
        raise SystemExit(1)


def _describe_proof(proof: LedgerProof, log: AuditProof) -> str:
    faults = [f"person {proof.broken.person}, link {proof.broken.seq}: {proof.broken.fault}"] if proof.broken else []
    faults += [f"person {at_fault.person}: {at_fault.fault}" for at_fault in proof.address_faults]
    faults += [fault for fault in (proof.fault, log.fault, *proof.disclosure_faults) if fault]
    if unnamed := proof.address_fault_count - len(proof.address_faults):
        faults.append(f"the addresses of {unnamed:,} more people do not hold")
    if faults:
        return "\n".join(f"Broken: {fault}." for fault in faults)
    counts = (
        f"{proof.people:,} people, {proof.links:,} links, {proof.suppressions:,} suppressions, {proof.seals:,} seals, "
        f"{proof.disclosures:,} sealed deliveries and other disclosures, {log.rows:,} rows of the audit log"
    )
    return f"{counts}: every chain, address and seal holds."


@subscribers.command(
    name="wordings",
    epilog="""\b
Examples:
  digest subscribers wordings
  digest subscribers wordings --json

\b
Exit codes:
  0  listed
  2  wrong use""",
)
@json_option("Print them as JSON.")
@pass_command_context
def list_wordings(context: CommandContext, as_json: bool) -> None:
    """List the words that readers agree to now, and all that they agreed to before, with their versions and hashes."""
    register = context.act(consent_wordings.view_wordings, now=context.now())
    if as_json:
        kept = [
            wording.as_json()
            | {"first_used_at": wording.first_used_at.isoformat(), "current": register.is_current(wording)}
            for wording in register.kept
        ]
        click.echo(json.dumps({"current": asdict(register.current), "kept": kept}, ensure_ascii=False))
        return
    if not register.is_kept:
        click.echo(f"Now, not used yet ({register.current.language}):\n  {register.current.text}")
    for wording in register.kept:
        now = ", counts now" if register.is_current(wording) else ""
        click.echo(f"Version {wording.version} ({wording.language}), first used {wording.first_used_at:%Y-%m-%d}{now}:")
        click.echo(f"  {wording.text}\n  SHA-256 {wording.hash}")


@subscribers.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers show - > ada.json
  echo ada@example.org | digest subscribers show - --form html > ada.html       to print
  digest subscribers show 7                              a person whom 'verify' has named

\b
Exit codes:
  0  shown
  1  no such person
  2  wrong use"""
)
@person_argument
@click.option(
    "--reason",
    default="a look at the record",
    show_default=True,
    callback=check_reason,
    help="Why; the person sees it among the passages of their address.",
)
@click.option("--form", type=click.Choice(["json", "html"]), default="json", show_default=True)
@pass_command_context
def show(context: CommandContext, whom: Address | int, reason: str, form: str) -> None:
    """Show all that is held of one person (ISO/IEC TS 27560): consent with its words, and disclosures.

    The look is itself a passage of the address: the person can see that it happened.
    """
    installation = context.installation
    record = people.show_person(installation, context.actor, whom, reason, now=context.now())
    if form == "html":
        click.echo(people.render_record_page(installation, record))
    else:
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))


@subscribers.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers erase - --reason "asked by letter"
  digest subscribers erase 7 --reason "the row is damaged"

\b
Exit codes:
  0  the person is erased, now or before
  1  no such person
  2  wrong use"""
)
@person_argument
@reason_option("ledger")
@pass_command_context
def erase(context: CommandContext, whom: Address | int, reason: str) -> None:
    """Erase one person: the address goes for good, and a keyed hash of it keeps later imports away."""
    number, was_there = context.act(people.erase_subscriber, whom, reason, now=context.now())
    click.echo(f"Erased: person {number}." if was_there else f"Person {number} had been erased before.")


@subscribers.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers suppress - --reason "asked never to be written to"

\b
Exit codes:
  0  the address is suppressed, now or before
  1  no address
  2  wrong use"""
)
@email_argument
@reason_option("ledger")
@pass_command_context
def suppress(context: CommandContext, address: Address, reason: str) -> None:
    """Bar one address, whether or not it is on the list: no import and no form brings it back."""
    changed = context.act(people.suppress_address, address, reason, now=context.now())
    click.echo("Suppressed." if changed else "It had been suppressed before.")


@subscribers.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers allow - --reason "wrote that the complaint was a slip"

\b
Exit codes:
  0  they may sign up again
  1  the address is not suppressed
  2  wrong use"""
)
@email_argument
@reason_option("audit log")
@pass_command_context
def allow(context: CommandContext, address: Address, reason: str) -> None:
    """Let somebody who complained, or was barred, sign up again. Nobody is on the list before they confirm."""
    context.act(people.allow_signup, address, reason, now=context.now())
    click.echo("Allowed: their own form and confirmation bring them back, and nothing else does.")


@subscribers.command(
    name="renew-links",
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers renew-links - --reason "asked by mail: forwarded an edition"

\b
Exit codes:
  0  renewed
  1  nobody of this address is on the list
  2  wrong use""",
)
@email_argument
@reason_option("audit log")
@pass_command_context
def renew_links(context: CommandContext, address: Address, reason: str) -> None:
    """Renew one person's links: those in mails that they forwarded can then unsubscribe them, and change nothing."""
    number, _ = context.act(people.renew_person_links, address, reason, now=context.now())
    click.echo(f"Renewed: person {number}. The next mail to them holds the new link.")

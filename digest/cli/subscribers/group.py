"""The `digest subscribers` group, with the actions on individual subscribers.

Each action is recorded with evidence of consent or with a reason.
"""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from digest.app.subscribers import consent_texts, subscriber_actions
from digest.app.upkeep import nightly_steps
from digest.cli.context import (
    MOMENT,
    CommandContext,
    check_reason,
    email_argument,
    flag,
    json_option,
    pass_command_context,
    person_argument,
    prefix_refusals,
    print_result,
    reason_option,
)
from digest.cli.lazy_group import LazyGroup
from digest.cli.terminal import show_progress
from digest.store.audit_chain import AuditProof
from subscribers.address import Address
from subscribers.consent.seals import LedgerProof
from subscribers.english_text import count_with_noun
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store.models import ConsentKind

if TYPE_CHECKING:
    from digest.app.subscribers.data_requests import AnswerForm


@click.group(
    cls=LazyGroup,
    command_places={
        "import": "digest.cli.subscribers.import_export:import_list",
        "export": "digest.cli.subscribers.import_export:export",
        "ask": "digest.cli.subscribers.import_export:ask_people_to_confirm",
        "preferences": "digest.cli.subscribers.preferences:change_preferences",
        "adopt-suppressions": "digest.cli.subscribers.suppression_lists:adopt_suppressions",
        "export-suppressions": "digest.cli.subscribers.suppression_lists:export_suppressions",
        "pull": "digest.cli.subscribers.import_export:pull_suppressions",
    },
    epilog="\b\nExample:\n  digest subscribers list",
)
def subscribers() -> None:
    """Manage subscribers, and verify the consent ledger.

    For EMAIL, use - to read the address from standard input. Addresses on a command line are saved in the shell's
    history and visible to other users of the machine while the command runs.
    """


@subscribers.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers add - --where hls.today --on 2026-03-04 \\
      --method "double opt-in at the old service" --confirmed --consent-text "Yes, send me the weekly digest."
  digest subscribers add bo@example.org --where "Border expo, Denver" --on 2026-06-02T10:00 \\
      --method "paper sign-up sheet" --consent-text "Please send me the weekly digest." --language en

\b
Exit codes:
  0  added, or already subscribed
  1  refused (not an address, suppressed, or unsubscribed)
  2  usage error"""
)
@click.argument("email")
@click.option("--consent-text", "wording", required=True, help="Exact consent text the person agreed to.")
@click.option(
    "--consent-text-version",
    "wording_version",
    default="",
    help="Version of the consent text. [default: the version with exactly this text, if any]",
)
@click.option("--language", default="en", show_default=True, help="Language of the consent text.")
@click.option(
    "--where", "page", required=True, help="Website or event where the person agreed. The subscriber can see it."
)
@click.option(
    "--method", "--evidence", required=True, help="Evidence, such as 'paper sign-up sheet' or 'double opt-in'."
)
@click.option("--on", "agreed", type=MOMENT, required=True, help="Date and time when the person agreed.")
@flag("--confirmed", help="The person confirmed by email. Otherwise, you vouch for their consent.")
@pass_command_context
def add(context: CommandContext, /, email: str, confirmed: bool, agreed: datetime, **evidence_fields: str) -> None:
    """Add a person with evidence of their consent. No email is sent.

    Breaking news stays off until they choose it in their preferences, even if the consent text mentions it.
    """
    evidence = ConsentEvidence(
        **evidence_fields,
        actor=context.actor.name,
        agreed_at=context.moment_or_now(agreed),
        kind=ConsentKind.CONFIRMED if confirmed else ConsentKind.ATTESTED,
    )
    address = sys.stdin.readline().strip() if email == "-" else email
    with prefix_refusals("Not added"):
        signup = context.act(subscriber_actions.add_person, address, evidence, now=context.now())
    click.echo(f"{'Subscribed already' if signup.already_subscribed else 'Added'}: person {signup.number}.")


@subscribers.command(
    "list", epilog="\b\nExample:\n  digest subscribers list --json\n\nExit codes: 0 shown, 2 usage error."
)
@json_option("Print the counts as JSON.")
@pass_command_context
def print_people_count_by_state(context: CommandContext, as_json: bool) -> None:
    """Count people by state. Addresses aren't shown."""
    counts = context.act(subscriber_actions.count_people_by_state, now=context.now())
    print_result(counts, (f"{state:12} {count:>9,}" for state, count in counts.items()), as_json=as_json)


@subscribers.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers unsubscribe - --reason "asked by phone"

\b
Exit codes:
  0  the person is unsubscribed (or already was)
  1  no such person
  2  usage error"""
)
@email_argument
@reason_option("ledger")
@pass_command_context
def unsubscribe(context: CommandContext, address: Address, reason: str) -> None:
    """Unsubscribe a person.

    You can undo this once, for seven days, with 'digest subscribers restore'.
    """
    number, was_listed = context.act(subscriber_actions.unsubscribe_by_admin, address, reason, now=context.now())
    click.echo(f"Unsubscribed person {number}." if was_listed else f"Person {number} was already unsubscribed.")


@subscribers.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers restore - --reason "wrong person"

\b
Exit codes:
  0  the person is subscribed again
  1  no such person, or this can't be undone
  2  usage error"""
)
@email_argument
@reason_option("ledger")
@pass_command_context
def restore(context: CommandContext, address: Address, reason: str) -> None:
    """Resubscribe someone you unsubscribed by mistake, and email them about it.

    This works for seven days, unless they unsubscribe, report spam, bounce, or are erased first. Only the admin who
    unsubscribed them can do it. The other admins are emailed. You can't undo this, but you can unsubscribe them again.
    """
    number, _ = context.act(subscriber_actions.restore_subscriber, address, reason, now=context.now())
    click.echo(f"Restored person {number}.")


@subscribers.command(
    "verify",
    epilog="""\b
Examples:
  digest subscribers verify
  digest subscribers verify --seal 4f0c6a1b9d27       a seal from an email
  digest subscribers verify --seal-now
  digest subscribers verify --json

\b
This can't verify that a consent was genuine when it was recorded, only that the record
  hasn't changed since. Someone who can write to the database could change anything recorded
  after the last seal kept elsewhere. To check such a seal (from an integrity email), use --seal.

\b
Exit codes:
  0  everything passed verification
  1  something failed verification; the first failures are listed, with people by number
  2  usage error""",
)
@click.option(
    "--seal",
    "kept",
    multiple=True,
    metavar="HASH",
    help="Also check that this saved seal is in the ledger. Repeatable.",
)
@flag("--seal-now", "seals_now", help="Seal the ledger first.")
@json_option("Print the result as JSON.")
@pass_command_context
def verify_consent_ledger(context: CommandContext, kept: tuple[str, ...], seals_now: bool, as_json: bool) -> None:
    """Verify the consent ledger and the audit log.

    This checks each person's consent record, state, and stored address, each nightly seal against the ledger and the
    suppression list at that time, each delivery and other disclosure against its sealed commitment, and each row of the
    audit log against the one before it.
    """
    if short := [seal for seal in kept if len(seal) < 12]:
        raise click.BadParameter(f"{short[0]!r} is too short. Enter at least the first 12 digits of the seal.")
    if seals_now:
        sealed = context.act(nightly_steps.seal_ledger, now=context.now())
        click.echo(f"Sealed the ledger as {sealed.hash[:12]}.", err=True)
    with show_progress("Verifying", is_wanted=not as_json) as progress:
        proof, log = context.act(
            subscriber_actions.verify_ledger, kept_hashes=kept, now=context.now(), progress=progress
        )
    if as_json:
        result = {key: value for key, value in asdict(proof).items() if key != "survey"}
        click.echo(json.dumps(result | {"audit_log": asdict(log)}))
    else:
        click.echo(_describe_proof(proof, log))
    if not proof.sound or log.fault:
        raise SystemExit(1)


def _describe_proof(proof: LedgerProof, log: AuditProof) -> str:
    faults = [f"person {proof.broken.person}, event {proof.broken.seq}: {proof.broken.fault}"] if proof.broken else []
    faults += [f"person {at_fault.person}: {at_fault.fault}" for at_fault in proof.address_faults]
    faults += [fault for fault in (proof.fault, log.fault, *proof.disclosure_faults) if fault]
    if unnamed := proof.address_fault_count - len(proof.address_faults):
        faults.append(f"more addresses that failed verification: {unnamed:,}")
    if faults:
        return "\n".join(f"Failed verification: {fault}." for fault in faults)
    counts = (
        f"{count_with_noun(proof.people, 'person', 'people')}, {count_with_noun(proof.links, 'event')}, "
        f"{count_with_noun(proof.suppressions, 'suppression')}, {count_with_noun(proof.seals, 'seal')}, "
        f"{proof.disclosures:,} sealed deliveries and other disclosures, "
        f"{count_with_noun(log.rows, 'row')} of the audit log"
    )
    return f"Verified {counts}."


@subscribers.command(
    name="consent-texts",
    epilog="""\b
Examples:
  digest subscribers consent-texts
  digest subscribers consent-texts --json

\b
Exit codes:
  0  listed
  2  usage error""",
)
@json_option("Print the versions as JSON.")
@pass_command_context
def list_consent_texts(context: CommandContext, as_json: bool) -> None:
    """List the current consent text and all earlier ones, with their versions and hashes."""
    register = context.act(consent_texts.view_consent_texts, now=context.now())
    if as_json:
        version_rows = [
            wording.as_json()
            | {"first_used_at": wording.first_used_at.isoformat(), "current": register.is_current(wording)}
            for wording in register.kept
        ]
        result = {"current": asdict(register.current), "kept": version_rows}
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    if not register.is_kept:
        click.echo(f"Current text, not used yet ({register.current.language}):\n  {register.current.text}")
    for wording in register.kept:
        now = ", current" if register.is_current(wording) else ""
        click.echo(f"Version {wording.version} ({wording.language}), first used {wording.first_used_at:%Y-%m-%d}{now}:")
        click.echo(f"  {wording.text}\n  SHA-256 {wording.hash}")


@subscribers.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers show - > ada.json
  echo ada@example.org | digest subscribers show - --form html > ada.html       for printing
  digest subscribers show 7                              a person listed by 'verify'

\b
Exit codes:
  0  shown
  1  no such person
  2  usage error"""
)
@person_argument
@click.option(
    "--reason",
    default="record viewed",
    show_default=True,
    callback=check_reason,
    help="Reason for viewing the record, shown to the subscriber.",
)
@click.option(
    "--form",
    type=click.Choice(["json", "html", "csv", "portable"]),
    default="json",
    show_default=True,
    help="'json' (everything), 'html' (an answer to print, GDPR Article 15), 'csv' (a portable copy, Article 20), or 'portable' (that copy as JSON).",
)
@pass_command_context
def show(context: CommandContext, whom: Address | int, reason: str, form: "AnswerForm") -> None:
    """Show everything stored about a person (ISO/IEC TS 27560), including consent texts and disclosures.

    The person can see that you viewed their data, when, and why.
    """
    from digest.app.subscribers.data_requests import create_data_answer

    click.echo(context.act(create_data_answer, whom, form, reason, now=context.now()).rstrip("\n"))


@subscribers.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers erase - --reason "asked by letter"
  digest subscribers erase 7 --reason "the row is damaged"

\b
Exit codes:
  0  the person is erased (or already was)
  1  no such person
  2  usage error"""
)
@person_argument
@reason_option("ledger")
@pass_command_context
def erase(context: CommandContext, whom: Address | int, reason: str) -> None:
    """Permanently erase a person. A keyed hash is kept so that imports don't add them again."""
    number, was_there = context.act(subscriber_actions.erase_subscriber, whom, reason, now=context.now())
    click.echo(f"Erased person {number}." if was_there else f"Person {number} was already erased.")


@subscribers.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers suppress - --reason "asked never to be emailed"

\b
Exit codes:
  0  the address is suppressed (or already was)
  1  not an email address
  2  usage error"""
)
@email_argument
@reason_option("ledger")
@pass_command_context
def suppress(context: CommandContext, address: Address, reason: str) -> None:
    """Add an address to the suppression list, so that forms and imports can't add it."""
    changed = context.act(subscriber_actions.suppress_address, address, reason, now=context.now())
    click.echo("Suppressed." if changed else "It was already suppressed.")


@subscribers.command(
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers allow - --reason "complained by mistake"

\b
Exit codes:
  0  removed from the suppression list
  1  the address is not suppressed
  2  usage error"""
)
@email_argument
@reason_option("audit log")
@pass_command_context
def allow(context: CommandContext, address: Address, reason: str) -> None:
    """Remove an address from the suppression list. Its owner can then sign up."""
    context.act(subscriber_actions.allow_signup_again, address, reason, now=context.now())
    click.echo("The address is no longer suppressed. Its owner can sign up again.")


@subscribers.command(
    name="renew-links",
    epilog="""\b
Example:
  echo ada@example.org | digest subscribers renew-links - --reason "forwarded an edition, asked by email"

\b
Exit codes:
  0  renewed
  1  no subscriber has this address
  2  usage error""",
)
@email_argument
@reason_option("audit log")
@pass_command_context
def renew_links(context: CommandContext, address: Address, reason: str) -> None:
    """Renew a person's email links. Earlier links then work only for unsubscribing."""
    number, _ = context.act(subscriber_actions.renew_person_links, address, reason, now=context.now())
    click.echo(f"Renewed the links of person {number}. The next email will contain the new ones.")

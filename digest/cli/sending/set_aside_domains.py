"""The `digest set-aside` command, which lists emails that stop rules set aside, and sends or drops them."""

from collections.abc import Iterator, Sequence

import click

from digest.app.editions.edition_status import resolve_edition_name
from digest.app.sending import set_aside_domains
from digest.app.sending.set_aside_domains import DomainAwaitingDecision
from digest.cli.context import (
    CommandContext,
    edition_argument,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_result,
    yes_option,
)
from digest.deliver.control.set_aside_domains import SetAsideDecision


@click.command(
    "set-aside",
    epilog="""\b
Examples:
  digest set-aside current
  digest set-aside 2026-W47 --send gmail.com
  digest set-aside 2026-W47 --drop "text-only variant"

If a mailbox provider rejects too many emails, a stop rule sets the remaining emails to that provider aside, and other subscribers
get theirs. The same happens if your mail server rejects a variant, such as the text-only one. --send sends the emails that were
set aside, even if more are rejected. --drop cancels them. NAME is a provider or variant from the list.
Exit codes: 0 listed, or will be sent or dropped, 1 you answered no, 2 no such edition or name.""",
)
@edition_argument
@click.option("--send", multiple=True, metavar="NAME|all", help="Send the emails. Repeatable.")
@click.option("--drop", multiple=True, metavar="NAME|all", help="Drop the emails. Repeatable.")
@yes_option()
@json_option("Print what's set aside as JSON.")
@pass_command_context
def manage_set_aside_domains(
    context: CommandContext, edition: str, send: tuple[str, ...], drop: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """List emails of an EDITION that a stop rule set aside, and send or drop them."""
    if send and drop:
        raise click.UsageError("Use only one of --send and --drop.")
    name = resolve_edition_name(context.installation, edition)
    listed = set_aside_domains.list_domains_awaiting_decision(context.installation, name)
    if not (send or drop):
        rows = [pick_json_fields(domain, "waiting", "reason", name="label", since="at") for domain in listed]
        print_result(rows, _describe_aside(name, listed), as_json=as_json, indent=2)
        return
    chosen = set_aside_domains.find_domains_awaiting_decision(listed, send or drop)
    decision, outcome = (SetAsideDecision.SEND, "be sent") if send else (SetAsideDecision.DROP, "not be sent")
    waiting = sum(domain.waiting for domain in chosen)
    if not yes:
        click.confirm(f"{_count_emails(waiting)} of {name} will {outcome}. Continue?", abort=True, err=True)
    tags = [domain.tag for domain in chosen]
    set_aside_domains.decide_set_aside_domains(
        context.installation, name, tags, decision, actor=context.actor, now=context.now()
    )
    said = (
        f"{_count_emails(waiting)} of {name} will {outcome}. If 'digest serve' isn't running, run 'digest send {name}'."
    )
    print_result({"edition": name, "decision": decision, "emails": waiting}, [said], as_json=as_json)


def _describe_aside(name: str, listed: Sequence[DomainAwaitingDecision]) -> Iterator[str]:
    if not listed:
        yield f"No emails of {name} are set aside."
        return
    for domain in listed:
        yield f"{domain.label}: {_count_emails(domain.waiting)}, because {domain.reason}"
    yield f"To send or drop these emails, run 'digest set-aside {name}' with --send or --drop."


def _count_emails(count: int) -> str:
    return f"{count:,} email{'' if count == 1 else 's'}"

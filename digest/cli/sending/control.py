"""The commands that control what is sent: pause, resume, or cancel an edition, pause all sending, decide on emails set aside."""

from collections.abc import Iterator, Sequence

import click

from digest.app.editions.edition_status import edition_name, edition_status
from digest.app.sending import control as sending
from digest.app.sending import set_aside_domains
from digest.app.sending.set_aside_domains import DomainAside
from digest.cli.context import (
    CommandContext,
    because_option,
    edition_argument,
    flag,
    json_option,
    pass_command_context,
    pick_fields,
    print_answer,
    yes_option,
)
from digest.deliver.control.set_aside import AsideDecision
from digest.installation import hold as installation_pause


@click.command(
    epilog="""\b
Examples:
  digest pause current --because "a wrong date in the second story"
  digest resume current
  digest pause --all --because "moving to the new machine"

Messages being sent right now still arrive. Confirmations and other transactional emails are still sent, unless you use --all.
Emails to admins about security changes are always sent. Exit codes: 0 paused (or already paused), 2 can't be paused."""
)
@edition_argument
@flag("--all", "is_all", help="Pause all sending, including confirmations and erasure requests to the provider.")
@because_option
@pass_command_context
def pause(context: CommandContext, edition: str, is_all: bool, because: str | None) -> None:
    """Pause sending an EDITION, or all sending, until 'digest resume'."""
    if is_all:
        _refuse_edition()
        hold = installation_pause.hold_installation(
            context.installation, reason=because or "", actor=context.actor, now=context.now()
        )
        click.echo(str(hold))
        return
    result = sending.pause_edition(
        context.installation, edition, reason=because or "", actor=context.actor, now=context.now()
    )
    outcome = "is paused" if result.changed else "was already paused"
    click.echo(f"{result.edition} {outcome}. Unsent: {result.waiting:,}.")


@click.command(
    epilog="""\b
Example:
  digest resume current
  digest resume --all

If a stop rule paused the edition, bounces and complaints so far no longer count toward the rule.
Exit codes: 0 resumed (or wasn't paused), 2 can't be resumed."""
)
@edition_argument
@flag("--all", "is_all", help="Resume all sending.")
@pass_command_context
def resume(context: CommandContext, edition: str, is_all: bool) -> None:
    """Resume a paused EDITION, or all sending. If 'digest serve' isn't running, continue with 'digest send'."""
    if is_all:
        _refuse_edition()
        resumed = installation_pause.release_installation(context.installation, actor=context.actor, now=context.now())
        click.echo("Sending has resumed." if resumed else "Sending wasn't paused.")
        return
    result = sending.resume_edition(context.installation, edition, actor=context.actor, now=context.now())
    outcome = "has been resumed" if result.changed else "wasn't paused"
    click.echo(f"{result.edition} {outcome}.")


def _refuse_edition() -> None:
    """Refuse an EDITION next to --all, which would pause more than its reader means."""
    source = click.get_current_context().get_parameter_source("edition")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("EDITION and --all can't be combined. Leave one of them out.")


@click.command(
    epilog="""\b
Examples:
  digest cancel 2026-W47
  digest cancel 2026-W47 --yes            without confirmation

Exit codes: 0 canceled, 1 not confirmed, 2 can't be canceled because it's sent."""
)
@click.argument("edition")
@yes_option()
@pass_command_context
def cancel(context: CommandContext, edition: str, yes: bool) -> None:
    """Permanently cancel an EDITION for subscribers who haven't been sent it yet."""
    now = context.now()
    status = edition_status(context.installation, edition, now=now)
    counts = status.delivery_counts
    if not yes:
        click.confirm(
            (
                f"{status.name} has been sent to {counts.handed_over:,} of {counts.planned:,} subscribers. Cancel it "
                "for the others? This can't be undone."
            ),
            abort=True,
        )
    cancelled = sending.cancel_edition(context.installation, status.name, actor=context.actor, now=now)
    click.echo(f"{status.name} is canceled. Emails that won't be sent: {cancelled:,}.")


@click.command(
    "set-aside",
    epilog="""\b
Examples:
  digest set-aside current
  digest set-aside 2026-W47 --send gmail.com
  digest set-aside 2026-W47 --drop all

If a mailbox provider rejects too many emails, a stop rule sets the rest of its emails aside, and the other subscribers get
theirs. --send sends them even if the provider rejects more. --drop cancels them. PROVIDER is one of those listed.
Exit codes: 0 listed, or will be sent or dropped, 1 you answered no, 2 no such edition or provider.""",
)
@edition_argument
@click.option("--send", multiple=True, metavar="PROVIDER|all", help="Send the emails. Repeatable.")
@click.option("--drop", multiple=True, metavar="PROVIDER|all", help="Drop the emails. Repeatable.")
@yes_option()
@json_option("Print what's set aside as JSON.")
@pass_command_context
def set_aside(
    context: CommandContext, edition: str, send: tuple[str, ...], drop: tuple[str, ...], yes: bool, as_json: bool
) -> None:
    """List emails of an EDITION that a stop rule set aside, and send or drop them."""
    if send and drop:
        raise click.UsageError("Use only one of --send and --drop.")
    name = edition_name(context.installation, edition)
    listed = set_aside_domains.list_domains_aside(context.installation, name)
    if not (send or drop):
        rows = [pick_fields(domain, "waiting", "reason", provider="label", since="at") for domain in listed]
        print_answer(rows, _describe_aside(name, listed), as_json=as_json, indent=2)
        return
    chosen = set_aside_domains.find_domains_aside(listed, send or drop)
    decision, outcome = (AsideDecision.SEND, "be sent") if send else (AsideDecision.DROP, "not be sent")
    waiting = sum(domain.waiting for domain in chosen)
    if not yes:
        click.confirm(f"{_count_emails(waiting)} of {name} will {outcome}. Continue?", abort=True, err=True)
    tags = [domain.tag for domain in chosen]
    set_aside_domains.decide_domains(context.installation, name, tags, decision, actor=context.actor, now=context.now())
    said = (
        f"{_count_emails(waiting)} of {name} will {outcome}. If 'digest serve' isn't running, run 'digest send {name}'."
    )
    print_answer({"edition": name, "decision": decision, "emails": waiting}, [said], as_json=as_json)


def _describe_aside(name: str, listed: Sequence[DomainAside]) -> Iterator[str]:
    if not listed:
        yield f"No emails of {name} are set aside."
        return
    for domain in listed:
        yield f"{domain.label}: {_count_emails(domain.waiting)}, because {domain.reason}"
    yield f"To send or drop them, run 'digest set-aside {name}' with --send or --drop."


def _count_emails(count: int) -> str:
    return f"{count:,} email{'' if count == 1 else 's'}"

"""The `digest refused` command, which lists and acknowledges an edition's refusals and resends refused emails."""

from collections.abc import Iterator, Sequence

import click
from rich.console import RenderableType
from rich.table import Column, Table

from digest.app.sending import refusal_actions
from digest.app.sending.refusal_actions import RefusalOverview
from digest.cli.context import (
    CommandContext,
    because_option,
    edition_argument,
    flag,
    json_option,
    pass_command_context,
    print_result,
    yes_option,
)
from digest.cli.lazy_group import CommandRefusedError
from subscribers.english_text import count_with_noun

MAX_ROWS_SHOWN = 30  # groups; --json lists all of them


@click.command(
    epilog="""\b
Examples:
  digest refused 2026-W47
  digest refused 2026-W47 --again reputation --because "gmail.com unblocked us"
  digest refused 2026-W47 --again domain-1f0c9ae2b7d4 --because "their server works again"
  digest refused 2026-W47 --acknowledge --because "the list is old"

An edition ends as "sent with refusals" if at least 5 messages and 2% were refused, not counting addresses that don't exist, until
someone acknowledges the refusals. Only refusals that don't blame the address can be sent again: those for the reasons "message" (or one of
its variants), "relay" (your mail server or settings), "reputation" (yours), "authentication" (DKIM, SPF, or reverse DNS), and
"domain" (the receiving domain). First fix what the replies complain about. Consent is checked again, and no one gets the edition twice.

\b
Exit codes:
  0  listed, acknowledged, or sent again
  1  nothing to acknowledge or send again, the number changed meanwhile, or you answered no
  2  usage error, or the edition is canceled"""
)
@edition_argument
@click.option("--again", multiple=True, metavar="REASON|GROUP|all", help="Send these messages again. Repeatable.")
@flag("--acknowledge", help="Acknowledge the refusals, so they're no longer reported.")
@because_option
@yes_option("Don't ask for confirmation.")
@json_option("Print the refusals, or what was done, as JSON.")
@pass_command_context
def refused(
    context: CommandContext,
    edition: str,
    again: tuple[str, ...],
    acknowledge: bool,
    because: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List the refused messages of an EDITION by reason, acknowledge them, or send them again. Addresses aren't shown."""
    if again and acknowledge:
        raise click.UsageError("Use either --again or --acknowledge.")
    if again and not because:
        raise click.UsageError("The reason is missing. Add --because for the audit log.")
    overview = refusal_actions.read_refusals(context.installation, edition, context.actor)
    if again:
        _send_again(context, overview, again, because=because or "", yes=yes, as_json=as_json)
    elif acknowledge:
        _acknowledge(context, overview, because=because or "", as_json=as_json)
    else:
        print_result(_groups_as_json(overview), _describe_groups(overview), as_json=as_json, indent=2)


def _send_again(
    context: CommandContext,
    overview: RefusalOverview,
    chosen: Sequence[str],
    *,
    because: str,
    yes: bool,
    as_json: bool,
) -> None:
    name = overview.edition.name
    recipients = sum(group.recipients for group in overview.choose_resendable(chosen))
    if not recipients:
        raise CommandRefusedError(
            f"No messages were resent, because none in {name} were refused for this reason. To list the reasons, run "
            f"'digest refused {name}'."
        )
    if not yes:
        question = (
            f"{recipients:,} refused {'message' if recipients == 1 else 'messages'} of {name} will be sent again."
        )
        click.confirm(f"{question} Continue?", abort=True, err=True)
    sent = refusal_actions.send_refused_again(
        context.installation,
        name,
        chosen,
        confirmed=recipients,
        reason=because,
        actor=context.actor,
        clock=context.now,
    )
    lines = (
        f"{sent:,} messages of {name} wait to be sent again.",
        f"'digest serve' or hls-scheduler sends them soon. To send them now: digest send {name}",
    )
    print_result({"edition": name, "again": sent}, lines, as_json=as_json)


def _acknowledge(context: CommandContext, overview: RefusalOverview, *, because: str, as_json: bool) -> None:
    name = overview.edition.name
    refusals = refusal_actions.acknowledge_refusals(
        context.installation,
        name,
        confirmed=overview.edition.refusals,
        reason=because,
        actor=context.actor,
        now=context.now(),
    )
    said = f"{refusals:,} refusals of {name} acknowledged." if refusals else f"{name} has no refusals to acknowledge."
    print_result({"edition": name, "acknowledged": refusals}, [said], as_json=as_json)
    if not refusals:
        raise SystemExit(1)


def _describe_groups(overview: RefusalOverview) -> Iterator[RenderableType]:
    edition, groups = overview.edition, overview.groups
    if not groups:
        yield f"No messages of {edition.name} were refused."
        return
    numbers = (Column(title, justify="right") for title in ("Refused", "Can be sent again"))
    table = Table(Column("Group", no_wrap=True), "Domain", "Reply", *numbers)
    for group in groups[:MAX_ROWS_SHOWN]:
        again = f"{group.recipients:,}" if group.reason.is_doubtful else ""
        table.add_row(group.key, overview.domain_names.get(group.tag, ""), group.reply, f"{group.count:,}", again)
    yield table
    if len(groups) > MAX_ROWS_SHOWN:
        yield f"… and {len(groups) - MAX_ROWS_SHOWN:,} more. For the full list, use --json."
    if edition.has_refusals:
        refusals = count_with_noun(edition.refusals, "refusal that needs a decision", "refusals that need a decision")
        way = "To send them again or acknowledge them, see 'digest refused --help'."
        yield f"{edition.name} was sent with {refusals}. {way}"


def _groups_as_json(overview: RefusalOverview) -> dict[str, object]:
    groups = [
        {
            "group": group.key,
            "reason": group.reason,
            "domain": overview.domain_names.get(group.tag, ""),
            "said": group.reply,
            "refused": group.count,
            "again": group.recipients if group.reason.is_doubtful else 0,
        }
        for group in overview.groups
    ]
    return {"edition": overview.edition.name, "state": overview.edition.state_words, "groups": groups}

"""`digest inbound`: what came back of the messages that left, read and applied at once."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from digest.app.sending.background import InboundResult, process_inbound_mail
from digest.cli.context import CommandContext, json_option, pass_command_context, pick_fields, print_answer

EXIT_MAILBOX_TROUBLE = 1


@click.command(
    epilog="""\b
Examples:
  digest inbound
  digest inbound --json

\b
Exit codes:
  0  done; no mailbox may be set
  1  the mailbox gave trouble, which is said; what was stored is applied
  2  wrong use, or the settings cannot be used"""
)
@json_option("Print the counts as JSON.")
@pass_command_context
def inbound(context: CommandContext, as_json: bool) -> None:
    """Read the bounce mailbox now, and apply what it and providers say. 'digest serve' does so by itself.

    Bounces and complaints of our messages are stored encrypted, then put away. A reader who writes that they want to
    leave is mailed their link, for one click. All other mail stays where it is.
    """
    result = context.act(process_inbound_mail, clock=context.now)
    names = {"known": "already_stored", "left": "ignored"}
    mailbox = result.poll and pick_fields(result.poll, "stored", "answered", "more", **names)
    found = {"mailbox": mailbox, "applied": result.applied, "trouble": result.trouble}
    print_answer(found, _describe_result(result), as_json=as_json)
    if result.trouble:
        click.echo(f"The mailbox: {result.trouble}", err=True)
        raise SystemExit(EXIT_MAILBOX_TROUBLE)


def _describe_result(result: InboundResult) -> Iterator[str]:
    if poll := result.poll:
        yield (
            f"The mailbox: {poll.stored:,} stored, {poll.already_stored:,} known, {poll.answered:,} answered, "
            f"{_describe_counts(poll.ignored)} left alone."
        )
    elif not result.trouble:
        yield "No mailbox is set: see [inbound] in digest.toml."
    yield f"Applied: {_describe_counts(result.applied)}."


def _describe_counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "nothing"

"""The `digest inbound` command, which reads and applies bounces and provider events immediately."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from digest.app.sending.background_tasks import InboundMailResult, process_inbound_mail
from digest.cli.context import CommandContext, json_option, pass_command_context, pick_json_fields, print_result

EXIT_MAILBOX_TROUBLE = 1


@click.command(
    epilog="""\b
Examples:
  digest inbound
  digest inbound --json

\b
Exit codes:
  0  done (or there's no bounce mailbox)
  1  the mailbox couldn't be read; stored messages are still processed
  2  usage error, or invalid settings"""
)
@json_option("Print the counts as JSON.")
@pass_command_context
def inbound(context: CommandContext, as_json: bool) -> None:
    """Read the bounce mailbox now, and process bounces and provider events.

    Bounces and complaints about your messages are stored encrypted and removed from the mailbox. Subscribers who email a
    request to unsubscribe get a link to do so. Other email stays in the mailbox.
    """
    result = context.act(process_inbound_mail, clock=context.now)
    names = {"known": "already_stored", "left": "ignored"}
    mailbox = result.poll and pick_json_fields(result.poll, "stored", "answered", "more", **names)
    result_fields = {"mailbox": mailbox, "applied": result.applied, "trouble": result.trouble}
    print_result(result_fields, _describe_result(result), as_json=as_json)
    if result.trouble:
        click.echo(f"Mailbox: {result.trouble}", err=True)
        raise SystemExit(EXIT_MAILBOX_TROUBLE)


def _describe_result(result: InboundMailResult) -> Iterator[str]:
    if poll := result.poll:
        yield (
            f"Mailbox: {poll.stored:,} stored, {poll.already_stored:,} already stored, {poll.answered:,} answered, "
            f"{_describe_counts(poll.ignored)} ignored."
        )
    elif not result.trouble:
        yield "There's no bounce mailbox. To set one up, see [inbound] in digest.toml."
    yield f"Applied: {_describe_counts(result.applied)}."


def _describe_counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items())) or "nothing"

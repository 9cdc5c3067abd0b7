"""`digest inbound`: what came back of the messages that left, read and applied at once."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from digest.app import background
from digest.cli.context import CommandContext, pass_command_context
from digest.deliver.events.mailbox.imap import MailboxError
from digest.deliver.events.mailbox.poll import PollResult

MAX_MESSAGES = 100_000  # messages of the mailbox in one run
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
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@pass_command_context
def inbound(desk: CommandContext, as_json: bool) -> None:
    """Read the bounce mailbox now, and apply what it and providers say. 'digest serve' does so by itself.

    Bounces and complaints of our messages are stored encrypted, then put away; all other mail stays where it is.
    """
    look, trouble = None, ""
    try:
        look = background.read_bounce_mailbox(desk.install, clock=_utc_now, max_messages=MAX_MESSAGES)
    except MailboxError as exc:
        trouble = str(exc)
    applied = background.apply_inbound_events(desk.install, clock=_utc_now)
    trouble = trouble or (look.stuck if look else "")
    if as_json:
        found = look and {"stored": look.stored, "known": look.already_stored, "left": look.ignored, "more": look.more}
        click.echo(json.dumps({"mailbox": found, "applied": applied, "trouble": trouble}))
    else:
        _print_result(look, applied, trouble)
    if trouble:
        click.echo(f"The mailbox: {trouble}", err=True)
        raise SystemExit(EXIT_MAILBOX_TROUBLE)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _print_result(mailbox_result: PollResult | None, applied: Counter[str], trouble: str) -> None:
    if mailbox_result is not None:
        click.echo(
            f"The mailbox: {mailbox_result.stored:,} stored, {mailbox_result.already_stored:,} known, {_describe_counts(mailbox_result.ignored)} left alone."
        )
    elif not trouble:
        click.echo("No mailbox is set: see [inbound] in digest.toml.")
    click.echo(f"Applied: {_describe_counts(applied)}.")


def _describe_counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "nothing"

"""`digest inbound`: what came back of the messages that left, read and applied at once."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from digest import errands
from digest.cli.context import Desk, pass_desk
from digest.deliver.inbound.imap import MailboxError
from digest.deliver.inbound.mailbox import Look

MOST = 100_000  # messages of the mailbox in one run
EXIT_TROUBLE = 1


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
@pass_desk
def inbound(desk: Desk, as_json: bool) -> None:
    """Read the bounce mailbox now, and apply what it and providers say. 'digest serve' does so by itself.

    Bounces and complaints of our messages are stored encrypted, then put away; all other mail stays where it is.
    """
    look, trouble = None, ""
    try:
        look = errands.read_mailbox(desk.install, clock=_now, most=MOST)
    except MailboxError as exc:
        trouble = str(exc)
    applied = errands.apply_events(desk.install, clock=_now)
    trouble = trouble or (look.stuck if look else "")
    if as_json:
        found = look and {"stored": look.stored, "known": look.known, "left": look.left, "more": look.more}
        click.echo(json.dumps({"mailbox": found, "applied": applied, "trouble": trouble}))
    else:
        _tell(look, applied, trouble)
    if trouble:
        click.echo(f"The mailbox: {trouble}", err=True)
        raise SystemExit(EXIT_TROUBLE)


def _now() -> datetime:
    return datetime.now(UTC)


def _tell(look: Look | None, applied: Counter[str], trouble: str) -> None:
    if look is not None:
        click.echo(
            f"The mailbox: {look.stored:,} stored, {look.known:,} known, {_listed(look.left)} left alone."
        )
    elif not trouble:
        click.echo("No mailbox is set: see [inbound] in digest.toml.")
    click.echo(f"Applied: {_listed(applied)}.")


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "nothing"

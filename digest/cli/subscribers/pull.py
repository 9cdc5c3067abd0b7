"""`digest subscribers pull`: the suppression lists of the provider, read now."""

import json
from datetime import UTC, datetime

import click

from digest.app import lists
from digest.cli.context import CommandContext, pass_command_context
from digest.cli.lazy_group import CommandRefusedError
from digest.deliver.providers.registry import ProviderSettingsError


@click.command(
    epilog="""\b
Examples:
  digest subscribers pull
  digest subscribers pull --all        after an outage of the webhook, or into a restored copy
  digest subscribers pull --json

\b
Exit codes:
  0  every list was read whole
  1  a list could not be read, or not whole; the line says why, and the next run goes on
  2  wrong use"""
)
@click.option("--all", "whole", is_flag=True, help="Read the lists from their beginning, not since last time.")
@click.option("--json", "as_json", is_flag=True, help="Print what it came to as JSON.")
@pass_command_context
def pull(context: CommandContext, whole: bool, as_json: bool) -> None:
    """Take over whom SendGrid will not deliver to any more. The timetable does it every night.

    Bounces, invalid addresses, complaints and departures on its lists are applied to the people here; nobody
    comes back by it. Addresses that are not on our list are counted and dropped.
    """
    try:
        result = lists.pull_suppressions(
            context.installation, context.actor, from_beginning=whole, now=datetime.now(UTC)
        )
    except ProviderSettingsError as exc:
        raise CommandRefusedError(f"Not read: {exc}") from exc
    if as_json:
        counts = {"entries": result.entries, "ours": result.matched_people, "people": dict(result.feedback_counts)}
        click.echo(json.dumps(counts | {"troubles": result.troubles}))
    else:
        click.echo(f"{result}.")
    if result.troubles:
        click.get_current_context().exit(1)

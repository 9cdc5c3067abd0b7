"""`digest subscribers ask`: the one question to those whom a list named without evidence."""

import json
from datetime import UTC, datetime

import click

from digest.app import lists
from digest.cli.context import CommandContext, pass_command_context

DEFAULT_BATCH_SIZE = 500


@click.command(
    epilog="""\b
Examples:
  digest subscribers ask                 says how many could be asked, and asks you first
  digest subscribers ask --most 50 --yes

\b
Exit codes:
  0  the questions are queued, or there is nobody to ask
  1  you said no
  2  wrong use"""
)
@click.option(
    "--most",
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    type=click.IntRange(1),
    help="How many people at most: a new sender does well to begin with few.",
)
@click.option("--yes", is_flag=True, help="Do not ask before anybody is mailed.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@pass_command_context
def ask(context: CommandContext, most: int, yes: bool, as_json: bool) -> None:
    """Ask those whom a list named without evidence whether they want the mail: each of them once, for ever.

    They answer with the button on the confirmation page. Who does not within seven days is emptied, and is never
    asked again. Who is not asked within 30 days of the import is emptied too.
    """
    installation, actor, now = context.installation, context.actor, datetime.now(UTC)
    candidates = lists.count_unverified_people(installation, actor, now=now)
    if candidates and not yes:
        click.confirm(f"{candidates:,} people could be asked. Mail up to {most:,} of them?", abort=True, err=True)
    asked = lists.ask_unverified_people(installation, actor, limit=most, now=now) if candidates else 0
    if as_json:
        click.echo(json.dumps({"could": candidates, "asked": asked}))
    elif candidates:
        click.echo(f"{asked:,} questions are queued; 'digest serve' or 'hls-scheduler' hands them over.")
    else:
        click.echo("There is nobody to ask.")

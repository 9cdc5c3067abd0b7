"""The `digest subscribers preferences` command, which changes a subscriber's preferences."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import click

from digest.cli.context import CommandContext, pass_command_context, person_argument, prefix_refusals, reason_option
from subscribers.address import Address

_YES_OR_NO = click.Choice(["yes", "no"])
_LIST = "Keys of the {} to include, separated by commas. All others are left out."
_OPTIONS: dict[str, tuple[str, Any]] = {
    "pause-until": ("First day on which emails are sent again, such as 2026-12-31, or 'none' to end a pause.", str),
    "frequency": ("Frequency of editions.", click.Choice(["weekly", "fortnightly", "monthly"])),
    "hour": ("Send hour, from 0 to 23, or 'none' for as soon as an edition is out.", str),
    "zone": ("Time zone of the hour, such as America/New_York.", str),
    "sections": (_LIST.format("sections"), str),
    "topics": (_LIST.format("topics"), str),
    "short": ("Send the short edition.", _YES_OR_NO),
    "text-only": ("Send text without images.", _YES_OR_NO),
    "breaking-news": ("Send breaking news. Only subscribers can turn this on.", _YES_OR_NO),
}
# The preferences that an option changes, if their names aren't the same as the option's.
_ASKED = {"hour": "hour zone", "zone": "hour zone", "sections": "omit", "topics": "omit_topics"}


def _add_options(command: Callable[..., Any]) -> Callable[..., Any]:
    def add(decorated: Callable[..., Any], name: str) -> Callable[..., Any]:
        description, kind = _OPTIONS[name]
        return click.option(f"--{name}", help=description, type=kind)(decorated)

    return reduce(add, reversed(_OPTIONS), command)


@click.command(
    epilog="""\b
Examples:
  echo ada@example.org | digest subscribers preferences - --pause-until 2026-12-31 --reason "asked by phone"
  digest subscribers preferences 7 --frequency monthly --text-only yes --reason "asked by phone"

\b
Exit codes:
  0  changed (or there was nothing to change)
  1  no such subscriber, or a preference can't be saved
  2  usage error"""
)
@person_argument
@_add_options
@reason_option("ledger")
@pass_command_context
def change_preferences(context: CommandContext, /, whom: Address | int, reason: str, **given: str | None) -> None:
    """Change a subscriber's preferences, and email them about it.

    The email has the reason and a link that restores their earlier preferences for seven days. You can also undo this by
    changing them back.
    """
    from werkzeug.datastructures import MultiDict

    from digest.app.subscribers.subscriber_preferences import change_subscriber_preferences

    values = {name: text.strip() for name, text in given.items() if text is not None}
    if not values:
        raise click.UsageError("Choose a preference to change, such as --pause-until 2026-12-31.")
    if "zone" in values and "hour" not in values:
        raise click.UsageError("Enter --hour, too. A time zone is kept only with an hour.")
    form = MultiDict[str, str]({"asks": " ".join(_ASKED.get(name, name) for name in values)})
    for name, text in values.items():
        if name in {"sections", "topics"}:
            form.setlist(name.removesuffix("s"), [key.strip() for key in text.split(",")])
        else:
            form.add(name, "" if text == "none" else text)
    with prefix_refusals("Not changed"):
        number, changed = context.act(change_subscriber_preferences, whom, form, reason, now=context.now())
    done = f"Changed the preferences of person {number}. They'll be emailed about it."
    click.echo(done if changed else f"No change. Person {number} already had these preferences.")

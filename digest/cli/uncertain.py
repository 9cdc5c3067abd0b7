"""`digest uncertain`: messages of which nobody knows whether they arrived, and an admin's word on them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.table import Table

from digest import weekly
from digest.cli.acting import Refused, reason_in_words
from digest.cli.collect import plain_console
from digest.cli.context import Desk, pass_desk
from digest.deliver import settling
from digest.deliver.settling import Doubt, Word

SHOWN = 50  # rows of the table; --json lists all
ALL = "all"


@click.command(
    epilog="""\b
Examples:
  digest uncertain current
  digest uncertain 2026-W47 --accept all --because "the server's log has them all"
  digest uncertain 2026-W47 --again tvlhxkq2yd7m5c3zwj6rn4bgae --because "its log ends before it"

A message is uncertain where the connection or the process died while it was handed over. First look into the mail
server's log, by the Message-ID or the delivery's id; over SendGrid wait for its events, which settle most.

\b
Exit codes:
  0  listed, or settled
  1  one of those named is not uncertain, or was settled meanwhile; or you said no
  2  wrong use, or the edition is cancelled"""
)
@click.argument("edition", default="current")
@click.option("--accept", multiple=True, metavar="ID|all", help="Take it as accepted. Repeatable.")
@click.option("--again", multiple=True, metavar="ID|all", help="Send it again. Repeatable.")
@click.option("--because", callback=reason_in_words, help="Why, for the audit log; needed to settle.")
@click.option("--yes", is_flag=True, help="Do not ask before settling.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print what is uncertain, or what was settled, as JSON."
)
@pass_desk
def uncertain(
    desk: Desk,
    edition: str,
    accept: tuple[str, ...],
    again: tuple[str, ...],
    because: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List the uncertain messages of an EDITION, and settle them by your word. No address is shown."""
    if accept and again:
        raise click.UsageError("Give --accept or --again: one word at a time.")
    if (accept or again) and not because:
        raise click.UsageError("Say why with --because: it stands in the audit log.")
    install = desk.install
    with install.database.read() as session:
        name = weekly.edition_named(session, edition).name
    found = settling.doubts(install.database, name, now=_now())
    if accept or again:
        word = Word.ACCEPTED if accept else Word.AGAIN
        chosen = _chosen(name, found, accept or again)
        _settle(desk, name, chosen, word, because=because or "", yes=yes, as_json=as_json)
    elif as_json:
        click.echo(json.dumps([_facts(doubt) for doubt in found], indent=2))
    else:
        _list(name, found)


def _now() -> datetime:
    return datetime.now(UTC)


def _chosen(name: str, found: Sequence[Doubt], named: Sequence[str]) -> list[Doubt]:
    if ALL in named:
        return list(found)
    by_id = {doubt.delivery: doubt for doubt in found}
    for wanted in named:
        if wanted not in by_id:
            raise Refused(f"Nothing was settled: {wanted} is not among what is uncertain of {name}.")
    return [by_id[wanted] for wanted in dict.fromkeys(named)]


def _settle(
    desk: Desk, name: str, chosen: Sequence[Doubt], word: Word, *, because: str, yes: bool, as_json: bool
) -> None:
    if chosen and not yes:
        by_sendgrid = desk.settings.mail_url.get_secret_value().startswith("sendgrid:")
        click.confirm(f"{_risk(len(chosen), word, by_sendgrid=by_sendgrid)} Go on?", abort=True, err=True)
    done = settling.settle(
        desk.install.database,
        name,
        [doubt.delivery for doubt in chosen],
        word,
        because=because,
        actor=desk.actor,
        clock=_now,
    )
    left = len(chosen) - done
    if as_json:
        click.echo(json.dumps({"edition": name, "word": word, "settled": done, "settled_meanwhile": left}))
    else:
        click.echo(f"{done:,} of {name} {word}.")
        if done and word is Word.AGAIN:
            click.echo(
                f"'digest serve' or hls-scheduler sends them with its next look, 'digest send {name}' now."
            )
        if left:
            click.echo(f"{left:,} were settled by somebody else meanwhile, and were left as they are.")
    if left:
        raise SystemExit(1)


def _risk(count: int, word: Word, *, by_sendgrid: bool) -> str:
    """Say in plain words what may come of it."""
    these = f"{count:,} message{'s' if count > 1 else ''}"
    if word is Word.ACCEPTED:
        return f"{these} will count as accepted: whoever did not get it, will not get it any more."
    twice = f"{these} will be sent again: whoever got it already, gets it twice"
    if by_sendgrid:
        return f"{twice}. SendGrid gives each its own Message-ID, so no mail server can tell that it had it before."
    return f"{twice}, unless their mail server knows it by its Message-ID, which stays the same. Many do, not all."


def _list(name: str, found: Sequence[Doubt]) -> None:
    if not found:
        click.echo(f"Nothing is uncertain of {name}.")
        return
    table = Table()
    for heading in ("Delivery", "Handed over (UTC)", "Over", "What was said"):
        table.add_column(heading, no_wrap=heading == "Delivery")
    for doubt in found[:SHOWN]:
        at = f"{doubt.handed_at:%Y-%m-%d %H:%M:%S}" if doubt.handed_at else ""
        table.add_row(doubt.delivery, at, doubt.over, doubt.said)
    plain_console().print(table)
    if len(found) > SHOWN:
        click.echo(f"… and {len(found) - SHOWN:,} more: --json lists them all.")
    click.echo(
        f"{len(found):,} uncertain. Settle them with --accept or --again: see 'digest uncertain --help'."
    )


def _facts(doubt: Doubt) -> dict[str, str | None]:
    return {
        "delivery": doubt.delivery,
        "handed_at": doubt.handed_at.isoformat() if doubt.handed_at else None,
        "over": doubt.over,
        "said": doubt.said,
    }

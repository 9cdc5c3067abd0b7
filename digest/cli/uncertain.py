"""`digest uncertain`: messages of which nobody knows whether they arrived, and an admin's word on them."""

import json
from collections.abc import Sequence

import click
from rich.table import Table

from digest.app import sending
from digest.app.edition_status import edition_name
from digest.cli.collect import table_console
from digest.cli.context import CommandContext, check_reason, pass_command_context
from digest.cli.lazy_group import CommandRefusedError
from digest.deliver.send.uncertain_deliveries import UncertainDelivery, UncertainResolution

MAX_ROWS_SHOWN = 50  # rows of the table; --json lists all
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
@click.option("--because", callback=check_reason, help="Why, for the audit log; needed to settle.")
@click.option("--yes", is_flag=True, help="Do not ask before settling.")
@click.option("--json", "as_json", is_flag=True, help="Print what is uncertain, or what was settled, as JSON.")
@pass_command_context
def uncertain(
    context: CommandContext,
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
    name = edition_name(context.installation, edition)
    candidates = sending.list_uncertain(context.installation, name, now=context.now())
    if accept or again:
        resolution = UncertainResolution.ACCEPTED if accept else UncertainResolution.SEND_AGAIN
        chosen = _select_deliveries(name, candidates, accept or again)
        _resolve_deliveries(context, name, chosen, resolution, because=because or "", yes=yes, as_json=as_json)
    elif as_json:
        click.echo(json.dumps([_delivery_as_json(delivery) for delivery in candidates], indent=2))
    else:
        _print_deliveries(name, candidates)


def _select_deliveries(
    name: str, candidates: Sequence[UncertainDelivery], chosen_ids: Sequence[str]
) -> list[UncertainDelivery]:
    if ALL in chosen_ids:
        return list(candidates)
    by_id = {delivery.delivery_id: delivery for delivery in candidates}
    for delivery_id in chosen_ids:
        if delivery_id not in by_id:
            raise CommandRefusedError(f"Nothing was settled: {delivery_id} is not among what is uncertain of {name}.")
    return [by_id[delivery_id] for delivery_id in dict.fromkeys(chosen_ids)]


def _resolve_deliveries(
    context: CommandContext,
    name: str,
    deliveries: Sequence[UncertainDelivery],
    resolution: UncertainResolution,
    *,
    because: str,
    yes: bool,
    as_json: bool,
) -> None:
    if deliveries and not yes:
        risk = _describe_risk(len(deliveries), resolution, sending.resend_risk(context.installation))
        click.confirm(f"{risk} Go on?", abort=True, err=True)
    resolved = sending.resolve_uncertain(
        context.installation,
        name,
        [delivery.delivery_id for delivery in deliveries],
        resolution,
        reason=because,
        actor=context.actor,
        clock=context.now,
    )
    resolved_meanwhile = len(deliveries) - resolved
    if as_json:
        click.echo(
            json.dumps(
                {"edition": name, "word": resolution, "settled": resolved, "settled_meanwhile": resolved_meanwhile}
            )
        )
    else:
        click.echo(f"{resolved:,} of {name} {resolution}.")
        if resolved and resolution is UncertainResolution.SEND_AGAIN:
            click.echo(f"'digest serve' or hls-scheduler sends them with its next look, 'digest send {name}' now.")
        if resolved_meanwhile:
            click.echo(f"{resolved_meanwhile:,} were settled by somebody else meanwhile, and were left as they are.")
    if resolved_meanwhile:
        raise SystemExit(1)


def _describe_risk(count: int, resolution: UncertainResolution, resend_risk: str) -> str:
    """Say in plain words what may come of it."""
    these = f"{count:,} message{'s' if count > 1 else ''}"
    if resolution is UncertainResolution.ACCEPTED:
        return f"{these} will count as accepted: whoever did not get it, will not get it any more."
    twice = f"{these} will be sent again: whoever got it already, gets it twice"
    return f"{twice}{resend_risk}"


def _print_deliveries(name: str, candidates: Sequence[UncertainDelivery]) -> None:
    if not candidates:
        click.echo(f"Nothing is uncertain of {name}.")
        return
    table = Table()
    for heading in ("Delivery", "Handed over (UTC)", "Over", "What was said"):
        table.add_column(heading, no_wrap=heading == "Delivery")
    for delivery in candidates[:MAX_ROWS_SHOWN]:
        at = f"{delivery.handed_at:%Y-%m-%d %H:%M:%S}" if delivery.handed_at else ""
        table.add_row(delivery.delivery_id, at, delivery.provider_name, delivery.reply)
    table_console().print(table)
    if len(candidates) > MAX_ROWS_SHOWN:
        click.echo(f"… and {len(candidates) - MAX_ROWS_SHOWN:,} more: --json lists them all.")
    click.echo(f"{len(candidates):,} uncertain. Settle them with --accept or --again: see 'digest uncertain --help'.")


def _delivery_as_json(candidate: UncertainDelivery) -> dict[str, str | None]:
    return {
        "delivery": candidate.delivery_id,
        "handed_at": candidate.handed_at.isoformat() if candidate.handed_at else None,
        "over": candidate.provider_name,
        "said": candidate.reply,
    }

"""The `digest uncertain` command, which lists messages with an unknown status and resolves them.

They're resolved by a log or by an admin's decision.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.console import RenderableType
from rich.table import Column, Table

from digest.app.editions.edition_status import resolve_edition_name
from digest.app.sending import uncertain_delivery_actions
from digest.cli.context import (
    EXISTING_FILE,
    CommandContext,
    check_reason,
    json_option,
    pass_command_context,
    print_lines,
    print_result,
    yes_option,
)
from digest.cli.lazy_group import CommandRefusedError
from digest.deliver.send.uncertain.log_evidence import LogEvidence, LogVerdict
from digest.deliver.send.uncertain.uncertain_deliveries import NOTICES, UncertainDelivery, UncertainResolution
from subscribers.english_text import count_with_noun, sentence

MAX_ROWS_SHOWN = 50  # of the table; --json lists all of them
ALL, SILENT = "all", "silent"


def _read_zone(_context: click.Context, _parameter: click.Parameter, name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(
            "There's no such time zone. Use one such as UTC or Europe/Paris.", param_hint="--log-zone"
        ) from None


@click.command(
    epilog="""\b
Examples:
  digest uncertain current
  digest uncertain 2026-W47 --from-log /var/log/mail.log --from-log /var/log/mail.log.1.gz
  digest uncertain 2026-W47 --accept all --because "the server's log has them all"
  digest uncertain 2026-W47 --again silent --because "not reported by the provider for a day"
  digest uncertain 2026-W47 --again tvlhxkq2yd7m5c3zwj6rn4bgae --because "the log ends before it"
  digest uncertain notices
  digest uncertain notices --lost all --because "the subscriber asked again"

A message's status is unknown if the connection or process died while it was being sent. Postfix logs resolve most of them:
--from-log shows the results and asks before it applies them. Include all rotated logs. If your provider reports events, wait for
them. "silent" selects messages that the provider hasn't reported for 24 hours although it has reported others sent with them.
"notices" selects transactional emails. Only those sent to many at once, such as corrections, can be sent again. The content of the
others isn't kept, so mark them as accepted or lost.

\b
Exit codes:
  0  listed or resolved
  1  a listed message is already resolved, or you answered no
  2  usage error, or the edition is canceled"""
)
@click.argument("edition", default="current", metavar="[EDITION|notices]")
@click.option("--accept", multiple=True, metavar="ID|all", help="Mark the emails as accepted. Repeatable.")
@click.option("--again", multiple=True, metavar="ID|all|silent", help="Send these messages again. Repeatable.")
@click.option(
    "--lost", multiple=True, metavar="ID|all", help="Mark the emails as lost (transactional emails only). Repeatable."
)
@click.option(
    "--from-log",
    "log_files",
    multiple=True,
    type=EXISTING_FILE,
    metavar="FILE",
    help="Postfix log (plain or gzipped) to resolve deliveries with. Repeatable.",
)
@click.option(
    "--log-zone", callback=_read_zone, metavar="ZONE", help="Time zone for log lines without one. [default: local]"
)
@click.option(
    "--log-silence",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Longest gap between log lines, in minutes.",
)
@click.option("--because", callback=check_reason, help="Reason for the audit log, required to resolve deliveries.")
@yes_option("Don't ask for confirmation.")
@json_option("Print the listed or resolved deliveries as JSON.")
@pass_command_context
def uncertain(
    context: CommandContext,
    edition: str,
    accept: tuple[str, ...],
    again: tuple[str, ...],
    lost: tuple[str, ...],
    log_files: tuple[Path, ...],
    log_zone: ZoneInfo | None,
    log_silence: int,
    because: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List and resolve messages with unknown status, of an EDITION or of transactional emails ('notices'). Addresses aren't shown."""
    words = {
        UncertainResolution.ACCEPTED: accept,
        UncertainResolution.SEND_AGAIN: again,
        UncertainResolution.LOST: lost,
    }
    ids_by_resolution = {resolution: ids for resolution, ids in words.items() if ids}
    _check_words(ids_by_resolution, of_notices=edition == NOTICES, log_files=log_files, because=because)
    name = edition if edition == NOTICES else resolve_edition_name(context.installation, edition)
    candidates = uncertain_delivery_actions.list_uncertain(context.installation, name, now=context.now())
    for resolution, ids in ids_by_resolution.items():
        sends_again = resolution is UncertainResolution.SEND_AGAIN
        kept = [d for d in candidates if d.is_kept or not sends_again]
        chosen = _select_deliveries(name, kept if ALL in ids and kept else candidates, ids)
        if sends_again and not all(d.is_kept for d in chosen):
            raise click.UsageError(
                "Transactional emails can't be sent again because their content isn't kept. Use --accept or --lost."
            )
        _resolve_deliveries(context, name, chosen, resolution, because=because or "", yes=yes, as_json=as_json)
    if log_files:
        evidence = uncertain_delivery_actions.examine_mail_log(
            context.installation,
            name,
            log_files,
            zone=log_zone,
            longest_silence=timedelta(minutes=log_silence),
            now=context.now(),
        )
        _resolve_by_log(context, name, evidence, because=because or "the mail server's log", yes=yes, as_json=as_json)
    elif not ids_by_resolution:
        delivery_rows = [_delivery_as_json(delivery) for delivery in candidates]
        print_result(delivery_rows, _describe_deliveries(name, candidates), as_json=as_json, indent=2)


def _check_words(
    ids_by_resolution: Mapping[UncertainResolution, Sequence[str]],
    *,
    of_notices: bool,
    log_files: Sequence[Path],
    because: str | None,
) -> None:
    """Raise `UsageError` unless there's a single decision that applies to these messages.

    If there's a decision, it must also have a reason.
    """
    if len(ids_by_resolution) + bool(log_files) > 1:
        raise click.UsageError("Use only one of --accept, --again, --lost, and --from-log.")
    if of_notices and log_files:
        raise click.UsageError("A log can resolve only an edition's messages. Use --accept, --again, or --lost.")
    if not of_notices and UncertainResolution.LOST in ids_by_resolution:
        raise click.UsageError(
            "--lost is only for transactional emails. To send an edition's email again, use --again."
        )
    if ids_by_resolution and not because:
        raise click.UsageError("The reason is missing. Add --because for the audit log.")


def _select_deliveries(
    name: str, candidates: Sequence[UncertainDelivery], chosen_ids: Sequence[str]
) -> list[UncertainDelivery]:
    by_id = {delivery.delivery_id: delivery for delivery in candidates}
    if ALL in chosen_ids:
        return list(candidates)
    if SILENT in chosen_ids:
        return [delivery for delivery in candidates if delivery.is_silent]
    if unknown := [delivery_id for delivery_id in chosen_ids if delivery_id not in by_id]:
        raise CommandRefusedError(
            f"No deliveries were resolved because {unknown[0]} isn't one of {name}'s deliveries with unknown status. To list them, run 'digest uncertain {name}'."
        )
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
        risk = _describe_risk(
            len(deliveries), resolution, uncertain_delivery_actions.explain_resend_risk(context.installation)
        )
        click.confirm(f"{risk} Continue?", abort=True, err=True)
    ids = [delivery.delivery_id for delivery in deliveries]
    resolved = uncertain_delivery_actions.resolve_uncertain(
        context.installation, name, ids, resolution, reason=because, actor=context.actor, clock=context.now
    )
    resolved_meanwhile = len(deliveries) - resolved
    result = {"edition": name, "word": resolution, "settled": resolved, "settled_meanwhile": resolved_meanwhile}
    print_result(result, _describe_resolution(name, resolution, resolved, resolved_meanwhile), as_json=as_json)
    if resolved_meanwhile:
        raise SystemExit(1)


def _describe_resolution(
    name: str, resolution: UncertainResolution, resolved: int, resolved_meanwhile: int
) -> Iterator[str]:
    yield f"Resolved {count_with_noun(resolved, 'delivery', 'deliveries')} of {name} ({resolution})."
    if resolved and resolution is UncertainResolution.SEND_AGAIN:
        now = "" if name == NOTICES else f" To send them now: digest send {name}"
        yield f"'digest serve' or hls-scheduler sends them soon.{now}"
    if resolved_meanwhile:
        yield f"{count_with_noun(resolved_meanwhile, 'delivery was', 'deliveries were')} already resolved by someone else."


def _resolve_by_log(
    context: CommandContext, name: str, evidence: LogEvidence, *, because: str, yes: bool, as_json: bool
) -> None:
    """Show what a log says, and apply it after confirmation or with `--yes`."""
    resolvable = len(evidence.events) + len(evidence.not_accepted)
    if not as_json:
        print_lines(_describe_evidence(name, evidence))
    is_wanted = yes
    if resolvable and not yes and not as_json:
        is_wanted = click.confirm(
            f"Resolve {count_with_noun(resolvable, 'delivery', 'deliveries')}?", abort=True, err=True
        )
    resolved_count = 0
    if resolvable and is_wanted:
        resolved_count = uncertain_delivery_actions.resolve_by_log(
            context.installation, name, evidence, reason=because, actor=context.actor, clock=context.now
        )
    counts = {verdict.name.lower(): evidence.verdicts[verdict] for verdict in LogVerdict}
    facts = {"edition": name, "covered": evidence.spans, "incomplete": evidence.incomplete_reason}
    lines = (
        [f"Resolved {count_with_noun(resolved_count, 'delivery', 'deliveries')} of {name}."] if resolved_count else []
    )
    print_result(facts | counts | {"settled": resolved_count}, lines, as_json=as_json)


def _describe_evidence(name: str, evidence: LogEvidence) -> Iterator[str]:
    stretches = " and ".join(f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}" for start, end in evidence.spans)
    yield (
        f"The log covers {stretches} (UTC)."
        if stretches
        else "The log doesn't cover the time these messages were sent."
    )
    if evidence.incomplete_reason:
        yield f"{sentence(evidence.incomplete_reason)} A message missing from the log may still have arrived."
    yield f"{count_with_noun(evidence.verdicts.total(), 'message')} of {name} with unknown status:"
    for verdict in LogVerdict:
        resend_note = " (will be sent again)" if verdict is LogVerdict.NOT_ACCEPTED else ""
        yield f"  {evidence.verdicts[verdict]:>9,} {verdict}{resend_note}"


def _describe_risk(count: int, resolution: UncertainResolution, resend_risk: str) -> str:
    """Return a sentence about the consequences of a decision."""
    outcomes = {
        UncertainResolution.ACCEPTED: "be marked as accepted. Subscribers who didn't get the email won't get it.",
        UncertainResolution.LOST: "be marked as lost and not sent again.",
        UncertainResolution.SEND_AGAIN: f"be sent again. Subscribers who already got the email will get it twice{resend_risk}",
    }
    return f"{count:,} message{'s' if count > 1 else ''} will {outcomes[resolution]}"


def _describe_deliveries(name: str, candidates: Sequence[UncertainDelivery]) -> Iterator[RenderableType]:
    if not candidates:
        yield f"{name} has no messages with unknown status."
        return
    kind_column = ["Kind"] if name == NOTICES else []
    table = Table(Column("Delivery", no_wrap=True), *kind_column, "Sent (UTC)", "Provider", "Server reply")
    for delivery in candidates[:MAX_ROWS_SHOWN]:
        at = f"{delivery.handed_at:%Y-%m-%d %H:%M:%S}" if delivery.handed_at else ""
        kind = [delivery.kind] if kind_column else []
        table.add_row(delivery.delivery_id, *kind, at, delivery.provider_name, delivery.reply)
    yield table
    if len(candidates) > MAX_ROWS_SHOWN:
        yield f"… and {len(candidates) - MAX_ROWS_SHOWN:,} more. For the full list, use --json."
    if silent := sum(delivery.is_silent for delivery in candidates):
        yield (
            f"{count_with_noun(silent, 'message was', 'messages were')} probably not accepted, because in 24 hours, the provider hasn't reported on them but "
            f"has reported on others sent at the same time. To send them again: digest uncertain {name} --again silent "
            "--because …"
        )
    other_word = "--again or --lost" if name == NOTICES else "--again"
    yield (
        f"{count_with_noun(len(candidates), 'message')} with unknown status. To resolve them, use --accept or {other_word} (see "
        "'digest uncertain --help')."
    )


def _delivery_as_json(candidate: UncertainDelivery) -> dict[str, object]:
    kind: dict[str, object] = {"kind": candidate.kind} if candidate.kind else {}
    return kind | {
        "delivery": candidate.delivery_id,
        "handed_at": candidate.handed_at,
        "over": candidate.provider_name,
        "said": candidate.reply,
        "silent": candidate.is_silent,
    }

"""The `digest status` command, which shows the status of an edition."""

from collections.abc import Iterator
from datetime import datetime

import click

from digest.app.calendar.upcoming_steps import list_upcoming_steps
from digest.app.doctor.attention import list_attention_sentences
from digest.app.editions.edition_status import EditionStatus, describe_delivery_counts, find_edition_status
from digest.cli.context import (
    CommandContext,
    edition_argument,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_result,
)
from digest.deliver.send.claims.send_progress import SendProgress
from digest.store.delivery_models import DeliveryState


@click.command(
    epilog="""\b
Examples:
  digest status
  digest status 2026-W47 --json

Exit codes: 0 shown (there may be no edition yet), 2 no such edition."""
)
@edition_argument
@json_option("Print delivery counts as JSON.")
@pass_command_context
def status(context: CommandContext, edition: str, as_json: bool) -> None:
    """Show the status of an EDITION, what needs attention, and the next two weeks."""
    now, installation = context.now(), context.installation_without_upgrade
    overview = find_edition_status(installation, edition, now=now)
    with installation.read() as session:
        file = installation.settings.file
        attention = list_attention_sentences(session, now, file)
        coming = list_upcoming_steps(session, file, now)
    steps = [{"at": step.at, "what": step.what} for step in coming]
    status_fields = _describe_as_json(overview, now) | {"attention": attention, "next": steps}
    step_lines = ["What happens next:", *(f"  {step.describe(file)}" for step in coming)]
    print_result(status_fields, [*_describe_edition(overview), *attention, *step_lines], as_json=as_json)


def _describe_edition(overview: EditionStatus | None) -> Iterator[str]:
    if overview is None:
        yield "There's no edition yet. The scheduler makes the first draft, or run 'digest draft'."
        return
    rows = {
        "edition": f"{overview.name} ({'breaking news' if overview.is_breaking_news else f'No. {overview.number}'})",
        "state": overview.state_words,
        "content hash": overview.content_hash[:7],
        "release": overview.release_text,
        "deliveries": describe_delivery_counts(overview.delivery_counts),
        "sending": overview.progress_sentence,
    }
    for title, value in rows.items():
        if value or title != "sending":
            yield f" {title:<12}  {value}"  # not one of Rich's tables, which take 30 ms to import
    if doubts := overview.delivery_counts[DeliveryState.UNCERTAIN]:
        yield f"{doubts:,} with unknown status. To list and resolve them: digest uncertain {overview.name}"
    if overview.delivery_counts[DeliveryState.REFUSED]:
        yield f"To list what was refused, and why: digest refused {overview.name}"


def _describe_as_json(overview: EditionStatus | None, now: datetime) -> dict[str, object]:
    if overview is None:
        return {"edition": None}
    counts = {str(state): count for state, count in overview.delivery_counts.by_state.items()}
    paths = {"mark": "content_hash", "planned": "delivery_counts.planned", "hindrance": "blocked_reason"}
    values = pick_json_fields(overview, "refusals", edition="name", state="state_words", **paths)
    return values | {"sending": _progress_as_json(overview.progress, now)} | counts


def _progress_as_json(progress: SendProgress | None, now: datetime) -> dict[str, object] | None:
    if progress is None:
        return None
    return {
        "running": progress.is_running(now),
        "tried": progress.attempted,
        "per_second": round(progress.per_second, 2),
        "waits": progress.wait_reason,
        "until": progress.resumes_at,
    }

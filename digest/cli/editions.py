"""The commands that work on an edition: draft, show, check, approve, send."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from digest.app import approvals, editions, last_look, sending
from digest.app.edition_status import describe_delivery_counts, edition_status
from digest.cli.context import MOMENT, CommandContext, pass_command_context, print_json
from digest.cli.terminal import show_progress, stop_on_signal
from digest.deliver.send.edition_run import SendReport
from digest.edition.approval import ApprovalError
from digest.edition.preflight.rule_registry import PREFLIGHT_RULES, FindingLevel
from digest.select.values import Proposal, ScoredStory
from digest.store.delivery_models import DeliveryState
from digest.store.models import EditionState

MAX_LEFT_OUT_SHOWN = 20


def explain_proposal(proposal: Proposal) -> Iterator[str]:
    """Write the whole explanation, line by line."""
    for section, placed in proposal.sections.items():
        if not placed:
            continue
        yield f"{section.upper()}"
        for place, p in enumerate(placed, 1):
            yield f"{place:3}. {p.scored.story.lead.title}"
            if continues := p.scored.continues:
                earlier = continues.earlier
                news = f"{len(continues.news)} of its {len(p.scored.story.members)} articles are news since"
                yield f"     goes on from {earlier.edition} (No. {earlier.number}), “{earlier.headline}”: {news}"
            if p.rule:
                yield f"     {p.rule}"
            yield from _story_lines(p.scored)
            for under in p.supporting:
                yield f"     under it ({under.score:.1f}): {under.story.lead.title} ({under.story.lead.publisher})"
        yield ""
    if proposal.left_out:
        yield f"LEFT OUT (the first {min(MAX_LEFT_OUT_SHOWN, len(proposal.left_out))} of {len(proposal.left_out)})"
    for out in proposal.left_out[:MAX_LEFT_OUT_SHOWN]:
        yield f"   - {out.scored.story.lead.title}"
        yield f"     left out, because {out.reason}"
        yield from _story_lines(out.scored)


def _story_lines(scored: ScoredStory) -> Iterator[str]:
    story = scored.story
    others = sorted(story.publishers - {story.lead.publisher})
    yield f"     {story.lead.publisher}" + (f"; also {', '.join(others)}" if others else "")
    if places := [*scored.places.states, *scored.places.countries]:
        yield f"     about {', '.join(places)}"
    yield f"     summary: {editions.explain_summary(story)}"
    yield from (f"     {term.points:+8.2f}  {term.name}: {term.note}" for term in scored.terms)
    yield f"     {scored.score:8.2f}  sum"


EXIT_NOT_ALL_ACCEPTED = 1


def send_test_and_report(context: CommandContext, edition: str, to: Sequence[str]) -> None:
    """Send a test, and print a line for each member of the staff."""
    report = sending.send_test(context.installation, edition, to=to, actor=context.actor, clock=context.now)
    click.echo(f"Test of {report.edition}, to the staff; no reader is counted:")
    for result in report.tested:
        click.echo(f"  {result.email:40} {result.state}{f': {result.reply}' if result.reply else ''}")
    if report.stopped:
        click.echo(f"Stopped: {report.stopped}", err=True)
    if not report.arrived:
        raise SystemExit(EXIT_NOT_ALL_ACCEPTED)


EXIT_ANSWER_NO = 1  # a rule of preflight fails, or an edition is held
EXIT_UNCERTAIN = 3  # nothing waits, and nobody knows whether all of it arrived
REST_POLL_SECONDS = 2.0  # between two looks whether an edition still rests


@click.command(
    epilog="""\b
Examples:
  digest draft                        the edition of the next release
  digest draft --explain              with every score, and why what was left out was
  digest draft --now 2026-11-19T17:30 as if it were that moment (publication's zone)

Exit codes: 0 drafted, 1 drafted but held (too few stories), 2 wrong use."""
)
@click.option("--now", type=MOMENT, help="Draft as if it were this moment.")
@click.option("--explain", is_flag=True, help="Print every story's terms and sum, and why twenty were left out.")
@click.option("--json", "as_json", is_flag=True, help="Print what was drafted as JSON.")
@pass_command_context
def draft(context: CommandContext, now: datetime | None, explain: bool, as_json: bool) -> None:
    """Group, rank and arrange an edition from the articles of its window."""
    installation = context.installation
    drafted = editions.draft_next_edition(installation, actor=context.actor, now=context.moment_or_now(now))
    if as_json:
        print_json(
            {
                "edition": drafted.name,
                "number": drafted.number,
                "state": drafted.state,
                "held_because": drafted.incomplete_reason,
                "release_at": drafted.release_at,
                "articles": drafted.article_count,
                "sections": {key: len(placed) for key, placed in drafted.proposal.sections.items()},
                "warnings": drafted.warnings,
            }
        )
    else:
        if explain:
            click.echo("\n".join(explain_proposal(drafted.proposal)))
        zone = installation.settings.file.publication.zone
        opens, closes = (m.astimezone(zone) for m in (drafted.window.opens_at, drafted.window.cut_off))
        stories = sum(map(len, drafted.proposal.sections.values()))
        click.echo(
            f"{drafted.name} (No. {drafted.number}): {stories} stories from {drafted.article_count} articles, "
            f"{opens:%b %d %H:%M} to {closes:%b %d %H:%M %Z}."
        )
        for note in (*drafted.proposal.notes, *drafted.warnings):
            click.echo(f"  note: {note}")
        if drafted.incomplete_reason:
            click.echo(f"Held: {drafted.incomplete_reason}")
        else:
            click.echo(f"Next: digest check {drafted.name}, then look at it at the desk ('digest serve').")
    if drafted.incomplete_reason:
        raise SystemExit(EXIT_ANSWER_NO)


@click.command(
    epilog="""\b
Examples:
  digest show current --as text
  digest show 2026-W47 --as eml -o edition.eml

Exit codes: 0 shown, 2 there is no such edition, or wrong use."""
)
@click.argument("edition")
@click.option("--as", "form", type=click.Choice(["html", "text", "eml", "json"]), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@pass_command_context
def show(context: CommandContext, edition: str, form: editions.EditionFormat, output: Path | None) -> None:
    """Print an EDITION (a name such as 2026-W47, or 'current'): the bytes that readers get."""
    body = editions.edition_bytes(context.installation, edition, form)
    if output:
        output.write_bytes(body)
        click.echo(f"{output}: {len(body)} bytes")
    else:
        sys.stdout.buffer.write(body)


def print_rules(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print every rule of preflight with its one line, and end."""
    if wanted and not context.resilient_parsing:
        for rule in PREFLIGHT_RULES.values():
            click.echo(f"{rule.name:18} {rule.description}")
        context.exit()


@click.command(
    epilog="""\b
Examples:
  digest check current
  digest check 2026-W47 --online      tries every link too
  digest check --rules                what is checked

Exit codes: 0 no rule fails (warnings may be shown), 1 a rule fails, 2 wrong use."""
)
@click.argument("edition", default="current")
@click.option("--online", is_flag=True, help="Try every link.")
@click.option(
    "--rules", is_flag=True, is_eager=True, expose_value=False, callback=print_rules, help="List the rules and end."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@pass_command_context
def check(context: CommandContext, edition: str, online: bool, as_json: bool) -> None:
    """Run preflight on the final bytes of an EDITION."""
    findings = editions.check_edition(context.installation, edition, online=online, now=context.now())
    errors = [f for f in findings if f.level == FindingLevel.ERROR]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for f in findings:
            click.echo(f"{f.level:7} {f.rule}: {f.message}{f' ({f.where})' if f.where else ''}")
        passed = len(PREFLIGHT_RULES) - len({f.rule for f in findings})
        click.echo(
            f"{passed} of {len(PREFLIGHT_RULES)} rules pass; {len(errors)} error(s), {len(findings) - len(errors)} warning(s)."
        )
    if errors:
        raise SystemExit(EXIT_ANSWER_NO)


@click.command(
    epilog="""\b
Examples:
  digest approve 2026-W47              shows what would be approved, and its mark
  digest approve 2026-W47 3fa9c21      approves it, if it is still that
  digest approve 2026-W47 --void       takes the approval back
  digest approve 2026-W47 --send-back "The intro names a story that is out."
  digest approve 2026-W47 --done       what it was sent back for is done

Exit codes: 0 approved (without MARK: shown), 2 it cannot be (it says why), or wrong use."""
)
@click.argument("edition")
@click.argument("mark", default="")
@click.option("--void", is_flag=True, help="Take the approval back, so that the edition can change.")
@click.option("--send-back", "note", metavar="NOTE", help="Send it back with a note; an approval is taken back.")
@click.option("--done", is_flag=True, help="Mark as done what it was sent back for.")
@pass_command_context
def approve(context: CommandContext, edition: str, mark: str, void: bool, note: str | None, done: bool) -> None:
    """Approve an EDITION by its content MARK, the first seven digits at least."""
    installation, now = context.installation, context.now()
    if sum((bool(mark), void, note is not None, done)) > 1:
        raise click.UsageError("Give MARK, --void, --send-back or --done: one of them.")
    if note is not None:
        name = approvals.send_back_edition(installation, edition, note, actor=context.actor, now=now)
        click.echo(f"{name} is sent back: the note stands at the desk until somebody marks it as done.")
    elif done:
        notes = approvals.list_open_notes(installation, edition)
        for open_note in notes:
            approvals.finish_note(installation, edition, open_note.id, actor=context.actor, now=now)
        click.echo(f"{len(notes)} marked as done." if notes else "No note is open.")
    elif void:
        name = editions.void_approval(installation, edition, actor=context.actor, now=now)
        click.echo(f"{name} is a draft again.")
    elif mark:
        result = editions.approve_edition(installation, edition, mark, actor=context.actor, now=now)
        if result.missing:
            click.echo(f"You have approved version {result.version} of {result.edition}. It takes one more.")
        else:
            click.echo(f"{result.edition} is approved. Any change after this voids the approval.")
    else:
        overview = edition_status(installation, edition, now=now)
        if overview.state != EditionState.DRAFT:
            raise ApprovalError(f"{overview.name} is {overview.state}: only a draft can be approved.")
        for sentence in approvals.approval_sentences(approvals.read_approval_overview(installation, edition)):
            click.echo(sentence)
        click.echo(
            f"{overview.release_sentence}\nIts content hash is {overview.content_hash[:7]}. To approve exactly this:\n"
            f"  digest approve {overview.name} {overview.content_hash[:7]}"
        )


@click.command(
    epilog="""\b
Examples:
  digest send 2026-W47
  digest send 2026-W47 --wait         stay until nobody waits any more
  digest send current --test          to the staff whose address is proven; a draft too
  digest send current --test --to sam@news.example.org

Sending can be interrupted at any moment and started again: nobody gets it twice. What a crash leaves in
doubt is listed by 'digest uncertain'. From another terminal: 'digest status', 'digest pause', 'digest cancel'.
Exit codes: 0 nothing waits any more (a test: all of it was accepted), 1 something still waits (was not), or
the delivery counts do not balance, 2 wrong use or it may not be sent, 3 nothing waits any more, but of some messages
nobody knows whether they arrived ('digest uncertain')."""
)
@click.argument("edition")
@click.option(
    "--wait",
    is_flag=True,
    help="Stay until nobody waits: through a pause or a hold, the first readers' quarter of an hour, bounds, later hours and second tries.",
)
@click.option("--test", is_flag=True, help="Send it as it stands to the staff alone; no reader is counted.")
@click.option("--to", multiple=True, metavar="EMAIL", help="With --test: to this member of the staff. Repeatable.")
@click.option("--yes", is_flag=True, help="Do not ask before mail leaves for the world.")
@pass_command_context
def send(context: CommandContext, edition: str, wait: bool, test: bool, to: tuple[str, ...], yes: bool) -> None:
    """Send an approved EDITION now, one message per person; with --test, to the staff."""
    if test:
        send_test_and_report(context, edition, to)
        return
    if to:
        raise click.BadParameter("it goes with --test: an edition goes to its readers", param_hint="--to")
    installation = context.installation
    overview = edition_status(installation, edition, now=context.now())
    if not yes and not installation.settings.mail_url.get_secret_value().startswith("outbox:"):
        click.confirm(f"{overview.release_sentence} Send now?", abort=True)
    look = last_look.look_before_sending(installation, overview.name, actor=context.actor, clock=context.now)
    if look is not None and look.looked_at:
        click.echo(f"{look.sentence}.", err=True)
    report = _run_send(context, overview.name, wait=wait)
    if report is None:
        click.echo("Stopped: it was told to stop, and nothing was sent.", err=True)
        raise SystemExit(EXIT_ANSWER_NO)
    counts = report.delivery_counts
    click.echo(describe_delivery_counts(counts))
    if report.stop_reason or report.wait_reason:
        click.echo(f"Stopped: {report.stop_reason or report.wait_reason}", err=True)
    if counts.open or not counts.is_balanced:
        if resume_time := _resume_time(report, context):
            how = f"where 'digest serve' runs by itself, else with 'digest send {report.edition}'"
            click.echo(f"{counts.open:,} still wait{resume_time}, {how}.", err=True)
        raise SystemExit(EXIT_ANSWER_NO)
    if counts[DeliveryState.UNCERTAIN]:
        click.echo(f"Nobody knows whether all of them arrived: see 'digest uncertain {report.edition}'.", err=True)
        raise SystemExit(EXIT_UNCERTAIN)


def _run_send(context: CommandContext, name: str, *, wait: bool) -> SendReport | None:
    """Send; with `wait`, stay until nothing waits, something goes wrong or a signal comes. None: that came before all."""
    installation, report, waiting_for = context.installation, None, ""
    with stop_on_signal() as stopping, show_progress(f"Sending {name}") as progress:
        while not stopping.is_set():
            resting = sending.resting_reason(installation, name) if wait else ""
            reason, seconds = resting, REST_POLL_SECONDS
            if not resting:
                report = sending.send_edition(
                    installation,
                    name,
                    actor=context.actor,
                    clock=context.now,
                    report_progress=progress,
                    sleep=stopping.wait,
                    stopping=stopping.is_set,
                )
                if not wait or report.stop_reason or not report.delivery_counts.open:
                    break
                reason = f"{report.wait_reason or 'the rest is due later'}{_resume_time(report, context)}"
                if report.next_due_at is not None:
                    seconds = max(1.0, min(60.0, (report.next_due_at - context.now()).total_seconds()))
            if reason != waiting_for:
                click.echo(f"Waiting: {reason}", err=True)
                waiting_for = reason
            stopping.wait(seconds)
    return report


def _resume_time(report: SendReport, context: CommandContext) -> str:
    """Say from when the rest may go; empty where that is now, or unknown."""
    if report.next_due_at is None or report.next_due_at <= context.now():
        return ""
    local = report.next_due_at.astimezone(context.installation.settings.file.publication.zone)
    return f"; it goes on from {local:%A %H:%M %Z}"

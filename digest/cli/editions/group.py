"""The commands that draft, show, check, and approve an edition.

`digest send` is in `send`.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from digest.app.approval import approval_overviews, edition_approval
from digest.app.editing import breaking_news_drafts, edit_application
from digest.app.editions import drafting as editions
from digest.app.editions import edition_checks
from digest.app.editions.edition_status import read_edition_status
from digest.app.editions.edition_views import read_edition
from digest.app.sending.send_control import describe_upcoming_send
from digest.cli.context import (
    FILE_PATH,
    MOMENT,
    CommandContext,
    edition_argument,
    flag,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_lines,
    print_result,
)
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.drafting.drafts import DraftResult
from digest.edition.preflight.rule_registry import PREFLIGHT_RULES, FindingLevel
from digest.installation.opened_installation import Installation
from digest.select.selection_types import Proposal, ScoredStory
from digest.store.models import EditionState
from subscribers.english_text import count_with_noun

MAX_LEFT_OUT_SHOWN = 20


def explain_proposal(proposal: Proposal) -> Iterator[str]:
    """Yield lines that explain each placed story of a proposal.

    They also explain why up to 20 other stories were skipped.
    """
    for section, placed in proposal.sections.items():
        if not placed:
            continue
        yield f"{section.upper()}"
        for place, p in enumerate(placed, 1):
            yield f"{place:3}. {p.scored.story.lead.title}"
            if continues := p.scored.continues:
                earlier = continues.earlier
                news = f"{len(continues.news)} of its {len(p.scored.story.members)} articles are new since"
                yield f"     continues “{earlier.headline}” in {earlier.edition} (No. {earlier.number}), {news}"
            if p.rule:
                yield f"     {p.rule}"
            yield from _story_lines(p.scored)
            for under in p.supporting:
                yield f"     under it ({under.score:.1f}): {under.story.lead.title} ({under.story.lead.publisher})"
        yield ""
    if proposal.left_out:
        yield f"SKIPPED (first {min(MAX_LEFT_OUT_SHOWN, len(proposal.left_out))} of {len(proposal.left_out)})"
    for out in proposal.left_out[:MAX_LEFT_OUT_SHOWN]:
        yield f"   - {out.scored.story.lead.title}"
        yield f"     skipped: {out.reason}"
        yield from _story_lines(out.scored)


def _story_lines(scored: ScoredStory) -> Iterator[str]:
    yield from (f"     {line}" for line in editions.describe_story_origin(scored))
    yield f"     summary: {editions.explain_summary_source(scored.story)}"
    yield from (f"     {term.points:+8.2f}  {term.name}: {term.note}" for term in scored.terms)
    yield f"     {scored.score:8.2f}  sum"


EXIT_ANSWER_NO = 1  # a preflight rule failed, or an edition is incomplete or needs another approval


@click.command(
    epilog="""\b
Examples:
  digest draft                        the next edition
  digest draft --explain              also print scores and why stories were skipped
  digest draft --now 2026-11-19T17:30 as of that time (publication's time zone)
  digest draft --update current       after changing settings: keep the same stories

Exit codes: 0 drafted, 1 drafted but incomplete (too few stories), 2 usage error."""
)
@click.option("--now", type=MOMENT, help="Draft as of this time.")
@flag("--explain", help="Print each story's score in detail, and why up to 20 others were skipped.")
@json_option("Print the draft as JSON.")
@click.option(
    "--update",
    "outdated",
    metavar="EDITION",
    help="Update a draft to the current settings and program version.",
)
@pass_command_context
def draft(context: CommandContext, now: datetime | None, explain: bool, as_json: bool, outdated: str | None) -> None:
    """Draft an edition from the articles collected for it."""
    if outdated is not None:
        if now or explain or as_json:
            raise click.UsageError("--update can't be combined with other options. Leave them out.")
        updated = edit_application.apply_current_settings_to_draft(
            context.installation, outdated, actor=context.actor, now=context.now()
        )
        click.echo(f"{updated} was updated. Review it again." if updated else "The draft is already up to date.")
        return
    drafted = editions.draft_next_edition(context.installation, actor=context.actor, now=context.moment_or_now(now))
    result = pick_json_fields(
        drafted,
        *("number", "state", "release_at", "warnings"),
        edition="name",
        held_because="incomplete_reason",
        articles="article_count",
    )
    sections = {key: len(placed) for key, placed in drafted.proposal.sections.items()}
    print_result(result | {"sections": sections}, _describe_draft(context, drafted, explain=explain), as_json=as_json)
    if drafted.incomplete_reason:
        raise SystemExit(EXIT_ANSWER_NO)


def _describe_draft(context: CommandContext, drafted: DraftResult, *, explain: bool) -> Iterator[str]:
    if explain:
        yield from explain_proposal(drafted.proposal)
    zone = context.settings.zone
    opens = drafted.window.opens_at.astimezone(zone)
    closes = drafted.window.cut_off.astimezone(zone)
    stories = sum(map(len, drafted.proposal.sections.values()))
    yield (
        f"{drafted.name} (No. {drafted.number}): {stories} stories from {drafted.article_count} articles, "
        f"{opens:%b %d %H:%M} to {closes:%b %d %H:%M %Z}."
    )
    yield from (f"  note: {note}" for note in (*drafted.proposal.notes, *drafted.warnings))
    if drafted.incomplete_reason:
        yield f"Incomplete: {drafted.incomplete_reason}"
    else:
        yield f"Next: run 'digest check {drafted.name}', then review the edition ('digest serve')."


@click.command(
    "breaking-news",
    epilog="""\b
Examples:
  digest breaking-news https://news.example.org/2026/levee
  digest breaking-news https://a.example.org/levee https://b.example.org/shelters

Name 1 to 10 articles, in order. Pages that weren't collected are loaded first. Then someone else approves it
('digest approve'), and 'digest send' sends it now. Only subscribers who get breaking news receive it. The regular edition
doesn't change. Exit codes: 0 drafted, 1 a story can't be used.""",
)
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@pass_command_context
def draft_breaking_news(context: CommandContext, urls: tuple[str, ...]) -> None:
    """Draft an extra edition of breaking news from the articles at these URLs."""
    name = breaking_news_drafts.draft_breaking_news(context.installation, urls, actor=context.actor, now=context.now())
    click.echo(f"Drafted {name}. Next: run 'digest approve {name}', then 'digest send {name}'.")


@click.command(
    epilog="""\b
Examples:
  digest show current --as text
  digest show 2026-W47 --as eml -o edition.eml

Exit codes: 0 shown, 2 no such edition, or usage error."""
)
@click.argument("edition")
@click.option("--as", "form", type=click.Choice(["html", "text", "eml", "json"]), default="text", show_default=True)
@click.option("-o", "--output", type=FILE_PATH, help="Write to a file.")
@pass_command_context
def show(context: CommandContext, edition: str, form: editions.EditionFormat, output: Path | None) -> None:
    """Print an EDITION (a name such as 2026-W47, or 'current') as a sample subscriber gets it.

    With --as json, print its stored content.
    """
    row = read_edition(context.installation, edition)
    body = editions.render_edition_bytes(context.installation, row, form)
    if output:
        output.write_bytes(body)
        click.echo(f"{output}: {len(body)} bytes")
    else:
        sys.stdout.buffer.write(body)


def print_preflight_rules(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print all preflight rules with their descriptions, and exit."""
    if wanted and not context.resilient_parsing:
        for rule in PREFLIGHT_RULES.values():
            click.echo(f"{rule.name:18} {rule.description}")
        context.exit()


@click.command(
    epilog="""\b
Examples:
  digest check current                also tries links to your own site
  digest check 2026-W47 --online      also tries all other links
  digest check --rules                lists the rules

Exit codes: 0 no errors (there may be warnings), 1 errors, 2 usage error."""
)
@edition_argument
@flag("--online", help="Try every link.")
@flag("--rules", is_eager=True, expose_value=False, callback=print_preflight_rules, help="List the rules and exit.")
@json_option("Print the findings as JSON.")
@pass_command_context
def check(context: CommandContext, edition: str, online: bool, as_json: bool) -> None:
    """Run preflight checks on an EDITION, and try its links to your own site."""
    findings = edition_checks.check_edition(
        context.installation, edition, own_site=True, online=online, now=context.now()
    )
    errors = [f for f in findings if f.level == FindingLevel.ERROR]
    lines = [f"{f.level:7} {f.rule}: {f.sentence}{f' ({f.where})' if f.where else ''}" for f in findings]
    passed = len(PREFLIGHT_RULES) - len({f.rule for f in findings})
    warnings = len(findings) - len(errors)
    counts = f"{passed} of {len(PREFLIGHT_RULES)} rules passed, {count_with_noun(len(errors), 'error')}, {count_with_noun(warnings, 'warning')}."
    print_result([asdict(f) for f in findings], [*lines, counts], as_json=as_json)
    if errors:
        raise SystemExit(EXIT_ANSWER_NO)


@click.command(
    epilog="""\b
Examples:
  digest approve 2026-W47              shows what would be approved, and its MARK
  digest approve 2026-W47 3fa9c21b07de4456
                                       approves it if it hasn't changed
  digest approve 2026-W47 --revoke       revokes the approval
  digest approve 2026-W47 --send-back "The intro mentions a dropped story."
  digest approve 2026-W47 --done       marks the notes as done

Exit codes: 0 approved (or shown, without MARK), 1 recorded, but another approval is needed, 2 can't be approved, or usage error."""
)
@click.argument("edition")
@click.argument("mark", default="")
@flag("--revoke", help="Revoke the approval, so that the edition can be changed.")
@click.option("--send-back", "note", metavar="NOTE", help="Send the edition back with a note, and revoke any approval.")
@flag("--done", help="Mark all notes as done.")
@click.option("--confirm", multiple=True, metavar="RULE", help="Confirm that you checked this rule's warnings.")
@pass_command_context
def approve(
    context: CommandContext,
    edition: str,
    mark: str,
    revoke: bool,
    note: str | None,
    done: bool,
    confirm: tuple[str, ...],
) -> None:
    """Approve an EDITION with its MARK, or show the MARK and what would be approved."""
    installation, now = context.installation, context.now()
    if sum((bool(mark), revoke, note is not None, done)) > 1:
        raise click.UsageError("Use only one of MARK, --revoke, --send-back, and --done.")
    if note is not None:
        name = approval_overviews.send_back_edition(installation, edition, note, actor=context.actor, now=now)
        click.echo(f"{name} was sent back. Editors see the note until someone marks it as done.")
    elif done:
        notes = approval_overviews.list_open_notes(installation, edition)
        for open_note in notes:
            approval_overviews.mark_note_done(installation, edition, open_note.id, actor=context.actor, now=now)
        click.echo(f"{len(notes)} marked as done." if notes else "No open notes.")
    elif revoke:
        name = edition_approval.revoke_approval(installation, edition, actor=context.actor, now=now)
        click.echo(f"{name} is a draft again.")
    elif mark:
        _approve_mark(context, edition, mark, confirm)
    else:
        _show_what_to_approve(installation, edition, now)


def _approve_mark(context: CommandContext, edition: str, mark: str, confirmed: tuple[str, ...]) -> None:
    """Approve an edition by its approval code.

    Exit with 1 if the edition still needs another approval.
    """
    installation = context.installation
    about, now = (installation, edition, mark), context.now()
    result = edition_approval.approve_edition(*about, actor=context.actor, now=now, confirmed=confirmed)
    if result.unchecked:
        click.echo(result.unchecked)
    if not result.missing:
        click.echo(f"{result.edition} is approved. Any later change revokes the approval.")
        return
    click.echo(f"Your approval of {result.edition} is recorded, but the edition isn't approved yet.")
    print_lines(
        approval_overviews.explain_draft_approvers(approval_overviews.read_approval_overview(installation, edition))
    )
    raise SystemExit(EXIT_ANSWER_NO)


def _show_what_to_approve(installation: Installation, edition: str, now: datetime) -> None:
    """Print the approvals that a draft has and still needs, and the command that approves it.

    Raises:
        ApprovalError: the edition isn't a draft.
    """
    # Read this first, because a later edit makes it invalid.
    mark = approval_overviews.read_approval_code(installation, edition)
    overview = read_edition_status(installation, edition, now=now)
    if overview.state != EditionState.DRAFT:
        raise ApprovalError(f"{overview.name} is {overview.state.predicate}. Only drafts can be approved.")
    approval_overview = approval_overviews.read_approval_overview(installation, edition)
    if approval_overview.ended and not approval_overview.ended.ended_by and approval_overview.ended.ended_because:
        click.echo(f"The approval is no longer valid: {approval_overview.ended.ended_because}.")
    print_lines(approval_overviews.explain_approval_state(approval_overview))
    for host in approval_overviews.list_edition_link_hosts(installation, edition):
        click.echo(
            f"{('New site' if host.is_new else 'Site')} linked in the text: {host.host} ({', '.join(host.places)})"
        )
    click.echo(describe_upcoming_send(installation, overview, now=now))
    click.echo(f"Its content hash is {overview.content_hash[:7]}. To approve exactly this:")
    click.echo(f"  digest approve {overview.name} {mark}")

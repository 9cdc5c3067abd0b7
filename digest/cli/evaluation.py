"""The `digest evaluate` command, which scores selection against hand-made labels.

There's a subcommand for each kind of label.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from digest.app.evaluation import drafts as draft_evaluation
from digest.app.evaluation import stories as story_evaluation
from digest.app.evaluation import topics as topic_evaluation
from digest.cli.context import (
    EXISTING_FILE,
    MOMENT,
    CommandContext,
    edition_argument,
    flag,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_result,
)

EXISTING_PATH = click.Path(exists=True, path_type=Path)


@click.group(epilog="\b\nExample:\n  digest evaluate stories gold.json feeds/")
def evaluate() -> None:
    """Score story selection against hand-made labels."""


@evaluate.command(
    epilog="""\b
Examples:
  digest evaluate stories gold.json feeds/
  digest evaluate stories gold.json feeds/ --same-story 0.2 --json

\b
Exit codes: 0 measured, 2 usage error, or a file can't be read."""
)
@click.argument("gold", type=EXISTING_FILE)
@click.argument("feeds", nargs=-1, required=True, type=EXISTING_PATH, metavar="FEED...")
@click.option(
    "--earlier", multiple=True, type=EXISTING_PATH, help="Feeds from earlier weeks, used for word frequencies."
)
@click.option(
    "--same-story",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Similarity threshold to try for articles in the same story.",
)
@json_option("Print the scores as JSON.")
@pass_command_context
def stories(
    context: CommandContext,
    gold: Path,
    feeds: tuple[Path, ...],
    earlier: tuple[Path, ...],
    same_story: float | None,
    as_json: bool,
) -> None:
    """Group the articles in FEEDS (files or folders) into stories, and compare them with the stories in GOLD."""
    context.refuse_unknown_actor()
    result = story_evaluation.evaluate_stories(
        gold, feeds, context.settings, earlier=earlier, same_story=same_story, now=context.now()
    )
    print_result(_stories_as_json(result), _story_report(result), as_json=as_json, indent=2)


def _stories_as_json(result: story_evaluation.StoryEvaluation) -> dict[str, object]:
    sets = [_scored_set_as_json(scored) for scored in result.sets]
    return pick_json_fields(result, articles="article_count", stories="story_count") | {"sets": sets}


def _scored_set_as_json(scored: story_evaluation.StorySetScore) -> dict[str, object]:
    large = [pick_json_fields(s, "url", articles="article_count", pieces="piece_sizes") for s in scored.large_stories]
    counts = pick_json_fields(scored, "name", "missing", articles="article_count", stories="story_count")
    measured = {
        "bcubed": pick_json_fields(scored.bcubed, "precision", "recall", "f1"),
        "pairs": pick_json_fields(scored.pairs, "precision", "recall", "f1"),
    }
    pairs = {
        "same": pick_json_fields(scored.same, "right", "wrong", of="total"),
        "different": pick_json_fields(scored.different, "right", "wrong", of="total"),
    }
    return counts | measured | {"large_stories": large} | pairs


def _story_report(result: story_evaluation.StoryEvaluation) -> Iterator[str]:
    yield f"{result.article_count:,} articles in {result.story_count:,} stories"
    for scored in result.sets:
        missing = f" ({len(scored.missing)} more aren't in any feed)" if scored.missing else ""
        yield f"{scored.name}: {scored.article_count} labeled articles{missing} in {scored.story_count} stories"
        if scored.article_count:
            for name, value in (("B-cubed", scored.bcubed), ("pairs", scored.pairs)):
                yield f"  {name:8} precision {value.precision:.3f}, recall {value.recall:.3f}, F1 {value.f1:.3f}"
        for large in scored.large_stories:
            sizes = ", ".join(map(str, large.piece_sizes))
            yield f"  {large.article_count} articles in {len(large.piece_sizes)} pieces ({sizes}): {large.url}"
        for name, pairs in (("same", scored.same), ("different", scored.different)):
            if pairs.total:
                yield f"  {name} pairs: {pairs.right} of {pairs.total} right"
            for first, other in pairs.wrong:
                yield f"    wrong: {first}\n           {other}"


@evaluate.command(
    epilog="""\b
Examples:
  digest evaluate topics labels.jsonl
  digest evaluate topics labels.jsonl --json

\b
Exit codes: 0 measured, 2 usage error, or a file can't be read."""
)
@click.argument("labels", type=EXISTING_FILE)
@json_option("Print the scores as JSON.")
@pass_command_context
def topics(context: CommandContext, labels: Path, as_json: bool) -> None:
    """Assign topics to the articles in LABELS, and compare them with the labels."""
    context.refuse_unknown_actor()
    result = topic_evaluation.evaluate_topics(labels, context.settings)
    print_result(_topics_as_json(result), _topic_report(result), as_json=as_json, indent=2)


def _topics_as_json(result: topic_evaluation.TopicEvaluation) -> dict[str, object]:
    sets = [
        pick_json_fields(scored, "name", "given", "wanted", articles="article_count")
        | {
            "strict": pick_json_fields(scored, "precision", "recall"),
            "lenient": pick_json_fields(scored, precision="lenient_precision", recall="lenient_recall"),
        }
        for scored in result.sets
    ]
    disagreements = [
        pick_json_fields(
            m.label, set="set_name", url="article.url", title="article.title", topics="right", may="allowed"
        )
        | (pick_json_fields(m.match, "words", given="topic") if m.match else {"words": (), "given": None})
        for m in result.disagreements
    ]
    return {"sets": sets, "disagreements": disagreements, "unknown_topics": result.unknown_topics}


def _topic_report(result: topic_evaluation.TopicEvaluation) -> Iterator[str]:
    for scored in result.sets:
        yield f"{scored.name}: {scored.article_count} articles, {scored.given} assigned a topic, {scored.wanted} labeled with one"
        yield f"  strict   precision {scored.precision:.3f}, recall {scored.recall:.3f}"
        yield f"  lenient  precision {scored.lenient_precision:.3f}, recall {scored.lenient_recall:.3f}"
    if result.unknown_topics:
        yield f"Labeled topics that the rules don't have: {', '.join(result.unknown_topics)}"
    for m in result.disagreements:
        given_topic = f"{m.match.topic} ({', '.join(m.match.words)})" if m.match else "no topic"
        right = " or ".join(m.label.right) or "none"
        passed = f"; also allowed: {', '.join(m.label.allowed)}" if m.label.allowed else ""
        yield f"{'let pass' if m.is_allowed else 'wrong'}: {m.label.article.title}"
        yield f"  given {given_topic}; right: {right}{passed}"


@evaluate.command(
    "draft",
    epilog="""\b
Examples:
  digest evaluate draft picks.jsonl
  digest evaluate draft picks.jsonl --edition 2026-W47
  digest evaluate draft picks.jsonl --edition 2026-W47 --redraft
  digest evaluate draft picks.jsonl feeds/ --now 2026-11-19T17:30

\b
Exit codes: 0 measured, 2 usage error, or a file can't be read.""",
)
@click.argument("picks", type=EXISTING_FILE)
@click.argument("feeds", nargs=-1, type=EXISTING_PATH, metavar="[FEED]...")
@click.option("--edition", default="current", show_default=True, help="Edition to score, if no FEEDs are given.")
@flag("--redraft", help="Select its stories again with current settings.")
@click.option("--now", type=MOMENT, help="Draft from the FEEDs as of this time. [default: the newest article's time]")
@json_option("Print the scores as JSON.")
@pass_command_context
def evaluate_draft(
    context: CommandContext,
    picks: Path,
    feeds: tuple[Path, ...],
    edition: str,
    redraft: bool,
    now: datetime | None,
    as_json: bool,
) -> None:
    """Compare an edition, or a draft made from FEEDS (files or folders), with an editor's grades in PICKS."""
    if feeds and redraft:
        raise click.UsageError("--redraft uses stored articles. Leave out either --redraft or the FEEDs.")
    if feeds:
        context.refuse_unknown_actor()
        result = draft_evaluation.evaluate_feeds_draft(
            picks, feeds, context.settings, now=context.now(), drafted_at=context.moment_or_none(now)
        )
    elif redraft:
        result = draft_evaluation.evaluate_redraft(picks, context.installation, edition)
    else:
        result = draft_evaluation.evaluate_stored_draft(picks, context.installation, edition)
    print_result(asdict(result), _draft_report(result), as_json=as_json, indent=2)


@evaluate.command(
    "picks",
    epilog="""\b
Examples:
  digest evaluate picks 2026-W47 > picks.jsonl
  digest evaluate draft picks.jsonl --edition 2026-W47 --redraft

\b
Exit codes: 0 printed, 2 usage error, unknown edition, or an edition without a stored proposal.""",
)
@edition_argument
@pass_command_context
def print_picks(context: CommandContext, edition: str) -> None:
    """Print an edition's editing decisions as PICKS for 'digest evaluate draft' (one JSON line per story)."""
    for pick in draft_evaluation.derive_grades_from_edits(context.installation, edition):
        click.echo(json.dumps(pick, ensure_ascii=False))


def _draft_report(result: draft_evaluation.DraftEvaluation) -> Iterator[str]:
    for place, story in enumerate(result.stories, 1):
        repeats = f", repeats {story.repeats}" if story.repeats else ""
        poor = ", poor lead" if story.grade and story.grade.is_poor_lead else ""
        grade = f"{story.grade.grade}{repeats}{poor} ({story.grade.why})" if story.grade else "ungraded"
        yield f"{place:3}. {story.headline}\n     {grade}"
    for scored in result.scores:
        yield (
            f"first {scored.first} (of {scored.stories}): {scored.changes} to change, {scored.ungraded} ungraded, "
            f"{scored.poor_leads} poor leads, {scored.musts} of {result.must_count} required stories"
        )
    for missed in result.missing:
        yield f"missing: {missed.title}"

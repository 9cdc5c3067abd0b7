"""`digest evaluate`: hold selection against labels that somebody made by hand. A command of the group a kind of labels."""

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
    pick_fields,
    print_answer,
)

EXISTING_PATH = click.Path(exists=True, path_type=Path)


@click.group(epilog="\b\nExample:\n  digest evaluate stories gold.json feeds/")
def evaluate() -> None:
    """Measure selection against labels made by hand: a change of a weight is a number."""


@evaluate.command(
    epilog="""\b
Examples:
  digest evaluate stories gold.json feeds/
  digest evaluate stories gold.json feeds/ --same-story 0.2 --json

\b
Exit codes: 0 measured, 2 wrong use, or a file that cannot be read."""
)
@click.argument("gold", type=EXISTING_FILE)
@click.argument("feeds", nargs=-1, required=True, type=EXISTING_PATH, metavar="FEED...")
@click.option("--earlier", multiple=True, type=EXISTING_PATH, help="Feeds of earlier weeks: how rare words are.")
@click.option("--same-story", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Try this threshold.")
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
    """Group the articles of FEEDs (files or folders), and hold the stories against those of GOLD."""
    context.refuse_unknown_actor()
    result = story_evaluation.evaluate_stories(
        gold, feeds, context.settings, earlier=earlier, same_story=same_story, now=context.now()
    )
    print_answer(_stories_as_json(result), _story_report(result), as_json=as_json, indent=2)


def _stories_as_json(result: story_evaluation.StoryEvaluation) -> dict[str, object]:
    sets = [_scored_set_as_json(scored) for scored in result.sets]
    return pick_fields(result, articles="article_count", stories="story_count") | {"sets": sets}


def _scored_set_as_json(scored: story_evaluation.StorySetScore) -> dict[str, object]:
    large = [pick_fields(s, "url", articles="article_count", pieces="piece_sizes") for s in scored.large_stories]
    counts = pick_fields(scored, "name", "missing", articles="article_count", stories="story_count")
    measured = {key: pick_fields(getattr(scored, key), "precision", "recall", "f1") for key in ("bcubed", "pairs")}
    pairs = {key: pick_fields(getattr(scored, key), "right", "wrong", of="total") for key in ("same", "different")}
    return counts | measured | {"large_stories": large} | pairs


def _story_report(result: story_evaluation.StoryEvaluation) -> Iterator[str]:
    yield f"{result.article_count:,} articles in {result.story_count:,} stories"
    for scored in result.sets:
        missing = f" ({len(scored.missing)} more are in no feed)" if scored.missing else ""
        yield f"{scored.name}: {scored.article_count} labelled articles{missing} in {scored.story_count} stories"
        if scored.article_count:
            for name, value in (("B-cubed", scored.bcubed), ("pairs", scored.pairs)):
                yield f"  {name:8} precision {value.precision:.3f}, recall {value.recall:.3f}, F1 {value.f1:.3f}"
        for large in scored.large_stories:
            sizes = ", ".join(map(str, large.piece_sizes))
            yield f"  {large.article_count} articles in {len(large.piece_sizes)} pieces ({sizes}): {large.url}"
        for name, pairs in (("same", scored.same), ("different", scored.different)):
            if pairs.total:
                yield f"  pairs that are {name}: {pairs.right} of {pairs.total} right"
            for first, other in pairs.wrong:
                yield f"    wrong: {first}\n           {other}"


@evaluate.command(
    epilog="""\b
Examples:
  digest evaluate topics labels.jsonl
  digest evaluate topics labels.jsonl --json

\b
Exit codes: 0 measured, 2 wrong use, or a file that cannot be read."""
)
@click.argument("labels", type=EXISTING_FILE)
@json_option("Print the scores as JSON.")
@pass_command_context
def topics(context: CommandContext, labels: Path, as_json: bool) -> None:
    """Give topics to the articles of LABELS, and hold them against those given by hand."""
    context.refuse_unknown_actor()
    result = topic_evaluation.evaluate_topics(labels, context.settings)
    print_answer(_topics_as_json(result), _topic_report(result), as_json=as_json, indent=2)


def _topics_as_json(result: topic_evaluation.TopicEvaluation) -> dict[str, object]:
    sets = [
        pick_fields(scored, "name", "given", "wanted", articles="article_count")
        | {
            "strict": pick_fields(scored, "precision", "recall"),
            "lenient": pick_fields(scored, precision="lenient_precision", recall="lenient_recall"),
        }
        for scored in result.sets
    ]
    disagreements = [
        pick_fields(m.label, set="set_name", url="article.url", title="article.title", topics="right", may="allowed")
        | {"given": m.match.topic if m.match else None, "words": m.match.words if m.match else ()}
        for m in result.disagreements
    ]
    return {"sets": sets, "disagreements": disagreements, "unknown_topics": result.unknown_topics}


def _topic_report(result: topic_evaluation.TopicEvaluation) -> Iterator[str]:
    for scored in result.sets:
        yield f"{scored.name}: {scored.article_count} articles, {scored.given} given a topic, {scored.wanted} with one"
        yield f"  strict   precision {scored.precision:.3f}, recall {scored.recall:.3f}"
        yield f"  lenient  precision {scored.lenient_precision:.3f}, recall {scored.lenient_recall:.3f}"
    if result.unknown_topics:
        yield f"Topics of the labels that the rules do not have: {', '.join(result.unknown_topics)}"
    for m in result.disagreements:
        given = f"{m.match.topic} ({', '.join(m.match.words)})" if m.match else "no topic"
        right = " or ".join(m.label.right) or "none"
        passed = f"; let pass: {', '.join(m.label.allowed)}" if m.label.allowed else ""
        yield f"{'let pass' if m.is_allowed else 'wrong'}: {m.label.article.title}"
        yield f"  given {given}; right: {right}{passed}"


@evaluate.command(
    "draft",
    epilog="""\b
Examples:
  digest evaluate draft picks.jsonl
  digest evaluate draft picks.jsonl --edition 2026-W47
  digest evaluate draft picks.jsonl --edition 2026-W47 --redraft
  digest evaluate draft picks.jsonl feeds/ --now 2026-11-19T17:30

\b
Exit codes: 0 measured, 2 wrong use, or a file that cannot be read.""",
)
@click.argument("picks", type=EXISTING_FILE)
@click.argument("feeds", nargs=-1, type=EXISTING_PATH, metavar="[FEED]...")
@click.option("--edition", default="current", show_default=True, help="The edition, where no FEED is given.")
@flag("--redraft", help="Choose its stories again, by the settings as they are now.")
@click.option(
    "--now", type=MOMENT, help="Draft from the FEEDs as if it were this moment; else when the newest came out."
)
@json_option("Print the scores as JSON.")
@pass_command_context
def grade_draft(
    context: CommandContext,
    picks: Path,
    feeds: tuple[Path, ...],
    edition: str,
    redraft: bool,
    now: datetime | None,
    as_json: bool,
) -> None:
    """Hold an edition, or what would be drafted from FEEDs (files or folders), against an editor's grades in PICKS."""
    if feeds and redraft:
        raise click.UsageError("--redraft chooses from stored articles: leave it out, or name no FEED.")
    if feeds:
        context.refuse_unknown_actor()
        drafted_at = context.moment_or_now(now) if now else None
        result = draft_evaluation.evaluate_feeds_draft(
            picks, feeds, context.settings, now=context.now(), drafted_at=drafted_at
        )
    elif redraft:
        result = draft_evaluation.evaluate_redraft(picks, context.installation, edition)
    else:
        result = draft_evaluation.evaluate_stored_draft(picks, context.installation, edition)
    print_answer(asdict(result), _draft_report(result), as_json=as_json, indent=2)


@evaluate.command(
    epilog="""\b
Examples:
  digest evaluate picks 2026-W47 > picks.jsonl
  digest evaluate draft picks.jsonl --edition 2026-W47 --redraft

\b
Exit codes: 0 printed, 2 wrong use, an unknown edition, or one whose proposal was not kept."""
)
@edition_argument
@pass_command_context
def picks(context: CommandContext, edition: str) -> None:
    """Print what the editors of an edition decided, as PICKS of `evaluate draft`: JSON, a line a story."""
    for pick in draft_evaluation.list_editor_picks(context.installation, edition):
        click.echo(json.dumps(pick, ensure_ascii=False))


def _draft_report(result: draft_evaluation.DraftEvaluation) -> Iterator[str]:
    for place, story in enumerate(result.stories, 1):
        repeats = f", repeats {story.repeats}" if story.repeats else ""
        poor = ", poor lead" if story.grade and story.grade.is_poor_lead else ""
        grade = f"{story.grade.grade}{repeats}{poor} ({story.grade.why})" if story.grade else "ungraded"
        yield f"{place:3}. {story.headline}\n     {grade}"
    for scored in result.scores:
        yield (
            f"first {scored.first} (has {scored.stories}): {scored.changes} to change, {scored.ungraded} ungraded, "
            f"{scored.poor_leads} poor leads; {scored.musts} of {result.must_count} matters that must be in"
        )
    for missed in result.missing:
        yield f"missing: {missed.title}"

"""The email in another language: without any English, and from right to left if the language requires it."""

import re
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from digest.app.editions.sample_emails import (
    STAFF_MAILS,
    SUBSCRIBER_MAILS,
    RenderedSample,
    compose_sample_email,
    make_sample_content,
    make_sample_notice_facts,
)
from digest.catalogs import load_language
from digest.collect.documents.deadlines import Deadline
from digest.edition.content.edition_content import EarlierAppearance, EditionContent, LabeledBlock, SectionEntry
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.opportunities import build_deadline
from digest.edition.kinds.story_entry import BUILT_IN_TOPICS, EntryContext, phrase_placement_reason, translate_topic
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.edition.rendering.template_filters import intro_opening
from digest.scoring_terms import FEATURED_NOTE, MOST_READ_NOTE, PINNED_NOTE
from digest.select.selection_types import CandidateArticle, PlacedStory, ScoredStory, Story, TermScore
from digest.settings import SectionSettings, Settings
from digest.settings.model import SettingsFileContent
from digest.settings.publication import PublicationSettings
from subscribers.consent.preferences import Preferences, describe_preferences
from tests.conftest import ROOT
from tests.moments import THURSDAY_NOON as NOW
from tests.pseudo_language import find_untranslated, read_visible_texts, texts_of, write_pseudo_catalogue

LANGUAGE = "he"
PUBLICATION = PublicationSettings(
    name="Vigie", tagline="Sentinelle", site="https://vigie.example.org/", about="Chez nous.", language=LANGUAGE
)
ZONE = ZoneInfo("America/New_York")
STAFF_KEYS = {mail.key for mail in STAFF_MAILS}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Give the settings of a publication in a language that nobody reads: all that is translated stands in brackets."""
    folder = tmp_path_factory.mktemp("templates")
    write_pseudo_catalogue(folder, LANGUAGE)
    return Settings(templates=folder, file=SettingsFileContent(publication=PUBLICATION))


def content_words(settings: Settings) -> list[str]:
    """List what is nobody's to translate: the publication's own words, those of articles, and invented facts."""
    facts = make_sample_notice_facts(settings)
    words = [text for mail in SUBSCRIBER_MAILS for text in facts.get(mail.key, {}).values()]
    words += texts_of(make_sample_content(settings))
    words += [
        PUBLICATION.name,
        PUBLICATION.tagline,
        PUBLICATION.about,
        "HLS.Today",
        "LinkedIn",
        "Facebook",
        "Bluesky",
        "vigie.example.org",
    ]
    words += [settings.file.sender.reply_to, "looking twice", "Three inspections, one drill: this week is about"]
    words += ["Infrastructure", "Disaster response", "Dana Reyes"]
    # A word in brackets is a message with a value in it: what is looked for is what stands without.
    return [word for word in words if len(word) > 1 and "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}" not in word]


def untranslated_parts(mail: RenderedSample, content: list[str]) -> list[str]:
    texts = (mail.subject, mail.text, read_visible_texts(mail.html))
    return [left for text in texts if (left := find_untranslated(text, content))]


@pytest.mark.parametrize("key", [mail.key for mail in SUBSCRIBER_MAILS])
def test_no_text_of_a_mail_to_subscribers_is_left_in_english(settings: Settings, key: str) -> None:
    assert untranslated_parts(compose_sample_email(settings, key), content_words(settings)) == []


def test_a_text_that_is_not_a_message_is_found(settings: Settings) -> None:
    """The judge of these tests finds what is planted."""
    mail = compose_sample_email(settings, "confirm")
    planted = replace(mail, html=mail.html.replace("<h1", '<p title="Press here">Opt in</p><h1', 1))
    assert untranslated_parts(planted, content_words(settings)) == ["Opt in . Press here"]


@pytest.mark.parametrize("key", sorted(STAFF_KEYS))
def test_mails_to_the_staff_stay_english_and_run_from_left_to_right(settings: Settings, key: str) -> None:
    mail = compose_sample_email(settings, key)
    assert "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}" not in mail.subject + mail.text + mail.html
    assert '<html lang="en" dir="ltr"' in mail.html


def test_every_kind_of_fragment_of_an_edition_is_translated(settings: Settings, full_content: EditionContent) -> None:
    """With what the gallery's edition has not: labelled blocks of every kind, a story that goes on, a web copy, a page."""
    language = settings.subscriber_language
    since = EarlierAppearance("2026-W46", 146, "An old headline", "This is new.")
    blocks = (
        LabeledBlock("correction-1", "correction", "Erratum", text="Lire ceci."),
        LabeledBlock("offer", "opportunity", "Offre", "Maison"),
        LabeledBlock("plain-offer", "opportunity", "Offre", url="https://offre.example.org/"),
        LabeledBlock("plain", "sponsor", "Publi"),
    )
    sections = tuple(
        replace(s, entries=tuple(_in_language(replace(e, since=since), language) for e in s.entries))
        for s in full_content.sections
    )
    content = replace(full_content, sections=sections, blocks=blocks, date=language.weekday_date(date(2026, 11, 20)))
    texts = (*texts_of(content), *content_words(settings), intro_opening(content.intro))
    words = [w for w in texts if len(w) > 1 and "\u27e6" not in w]
    pieces = render_edition(content, build_publication_context(settings), create_mail_environment(settings))
    assert {piece.kind for piece in pieces} == {"html", "web", "text", "short-text", "page", "short", "words"}
    for piece in pieces:
        text = piece.body if piece.kind.endswith("text") else read_visible_texts(f"<div>{piece.body}</div>")
        assert find_untranslated(text, words) == "", (piece.kind, piece.name)


def _in_language(entry: SectionEntry, language: object) -> SectionEntry:
    del language
    return replace(entry, when=replace(entry.when, label="\u27e6when\u27e7") if entry.when else None)


def scored(lead: CandidateArticle, others: int = 0, note: str = "", term: str = "editorial") -> ScoredStory:
    also = tuple(replace(lead, url=f"{lead.url}{n}", publisher=f"Presse{n}", primary=False) for n in range(others))
    terms = (TermScore(term, 9.0, note),) if note else ()
    return ScoredStory(Story(lead, also), 50.0, terms)


ARTICLE = CandidateArticle("https://a.example.org/", "https://a.example.org/", "Pont", "", "Presse", "Presse", NOW)


@pytest.mark.parametrize(
    "story",
    [
        scored(ARTICLE, 3, PINNED_NOTE),
        scored(ARTICLE, 1, FEATURED_NOTE),
        scored(ARTICLE, 14, MOST_READ_NOTE, "readership"),
        scored(replace(ARTICLE, primary=True), 0),
        scored(replace(ARTICLE, primary=True), 1),
        scored(replace(ARTICLE, primary=True), 5),
        replace(scored(ARTICLE), topic="Public health"),
    ],
)
def test_no_reason_is_left_in_english(settings: Settings, story: ScoredStory) -> None:
    sentence = phrase_placement_reason(story, settings.subscriber_language)
    assert find_untranslated(sentence, ()) == ""


@pytest.mark.parametrize("label", ["", "applications", "fixes", "something new"])
@pytest.mark.parametrize(
    ("clock", "zone"), [(None, ""), (time(17), ""), (time(12), "America/New_York"), (time(9, 30), "Europe/Paris")]
)
def test_no_deadline_is_left_in_english(settings: Settings, label: str, clock: time | None, zone: str) -> None:
    written = build_deadline(Deadline(date(2026, 12, 1), clock, zone, label), settings.subscriber_language)
    assert [find_untranslated(text, ()) for text in (written.label, written.text)] == ["", ""]


@pytest.mark.parametrize("kind", sorted(SECTION_KINDS))
def test_no_entry_is_left_in_english(settings: Settings, kind: str) -> None:
    starts = datetime(2026, 12, 3, 18, tzinfo=UTC)
    article = replace(
        ARTICLE,
        credit="INTERPOL",
        starts_at=starts,
        ends_at=starts.replace(day=5),
        deadline=Deadline(date(2026, 12, 4)),
    )
    language, section_kind = settings.subscriber_language, SECTION_KINDS[kind]
    (entry,) = section_kind.build_entries((PlacedStory(scored(article, 2)),), EntryContext(ZONE, language))
    section = SectionSettings(key="some", title="Most read", kind=kind)  # type: ignore[arg-type]  # a name of the registry
    texts = (
        *texts_of(replace(entry, summary_origin=None)),
        *section_kind.secondary_lines(entry, language),
        section_kind.format_section_note(section, starts, language),
        section.title_in(language),
    )
    content = ("Presse0", "Presse1", "Presse", "INTERPOL", "Pont", "deadline", "event")
    assert [left for text in texts if (left := find_untranslated(text, content))] == []


@pytest.mark.parametrize(
    "preferences",
    [
        Preferences(is_readable=False),
        Preferences(
            frozenset({"b"}), text_only=True, pause_until=date(2026, 12, 1), short=True, hour=6, zone="Europe/Paris"
        ),
        Preferences(frequency="fortnightly", start=date(2026, 11, 18)),
        Preferences(frequency="monthly", hour=12, zone="America/New_York"),
    ],
)
def test_no_word_on_choices_is_left_in_english(settings: Settings, preferences: Preferences) -> None:
    said = describe_preferences(
        preferences, [("a", "Une"), ("b", "Deux"), ("c", "Trois")], settings.subscriber_language
    )
    assert find_untranslated(said, ["Une", "Trois"]) == ""


def test_a_language_from_right_to_left_is_announced_and_its_tables_keep_their_logical_order(settings: Settings) -> None:
    html = compose_sample_email(settings, "edition").html
    ltr = compose_sample_email(Settings(), "edition").html
    assert '<html lang="he" dir="rtl"' in html
    assert '<div role="main" lang="he" dir="rtl">' in html
    # Every side is the other one; the order of cells is the same, which `dir` turns by itself.
    sides = re.compile(r'(?:\balign="|text-align:|float:|(?:padding|margin|border)-)(left|right)\b')
    mirrored = {"left": "right", "right": "left"}
    assert [mirrored[side] for side in sides.findall(html)] == sides.findall(ltr)
    cells = re.compile(r"<t[dr]\b|<h[1-6]\b|<li\b|<img\b")
    assert cells.findall(html) == cells.findall(ltr)


def test_a_headline_in_the_list_of_contents_says_that_it_runs_the_other_way(settings: Settings) -> None:
    html = compose_sample_email(settings, "edition").html
    contents = html[html.index('role="list"') : html.index("</tbody>")]
    assert contents.count('dir="ltr"') == contents.count("<td") == 2


def test_every_topic_that_comes_with_the_program_has_a_name_in_the_subscribers_language() -> None:
    rules = tomllib.loads((ROOT / "digest" / "topics.toml").read_text("utf-8"))["topic"]
    assert [rule["name"] for rule in rules] == list(BUILT_IN_TOPICS)
    french = load_language("fr")
    assert translate_topic("Public health", french) == "Santé publique"
    assert [translate_topic(topic, french) for topic in ("Marées & crues", "100 % local", None)] == [
        "Marées & crues",
        "100 % local",
        "",
    ]

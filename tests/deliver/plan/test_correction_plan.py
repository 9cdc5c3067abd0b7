"""The recipients of an error, compared with the messages sent, over every combination of sections and more."""

import re
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from itertools import combinations

import lxml.html
import pytest
from sqlalchemy import update

from digest.deliver.compose.variant_limit import MAX_VARIANTS, VariantKey
from digest.deliver.plan.correction_plan import (
    CorrectedTextLocations,
    CorrectionAudience,
    contains_uncorrected_text,
    read_recipient_batches,
)
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.edition.approval import approved_versions as approval
from digest.edition.archive.corrections import CorrectableStory, list_correctable_stories
from digest.edition.content.edition_content import EditionContent, RenderedFragment
from digest.edition.content.mailable_edition import MailableEdition
from digest.edition.drafting.drafts import replace_fragments
from digest.edition.edition_queries import find_edition
from digest.settings import Settings
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.signup.manual_signup import ConsentEvidence
from tests.deliver.conftest import KEYS
from tests.deliver.many_subscribers import add_many_subscribers
from tests.moments import RELEASE
from tests.web.conftest import render_once

EVIDENCE = ConsentEvidence("Yes.", "1", "en", "hls.today", "form", "test", RELEASE - timedelta(days=9))
LATER = RELEASE + timedelta(days=1)


def every_combination(content: EditionContent) -> list[Preferences]:
    keys = sorted(section.key for section in content.sections)
    omissions = [frozenset(some) for most in range(len(keys)) for some in combinations(keys, most)]
    chosen = [Preferences(omit=omit, short=short) for short in (False, True) for omit in omissions]
    return [*chosen, *(replace(one, text_only=True) for one in chosen[:: len(chosen) // 8])]


def send_full_edition(
    database: Database, settings: Settings, content: EditionContent, chosen: list[Preferences]
) -> Edition:
    pieces = render_once(content, settings)
    with database.write() as session:
        numbers = add_many_subscribers(
            session, KEYS, [f"r{n}@readers.example" for n in range(len(chosen))], evidence=EVIDENCE, now=RELEASE
        )
        for number, preferences in zip(numbers, chosen, strict=True):
            change_preferences(session, number, preferences, RELEASE)
        edition = Edition(
            slot=RELEASE.isoformat(),
            name=content.name,
            number=content.number,
            state=EditionState.DRAFT,
            opens_at=RELEASE - timedelta(days=7),
            cut_off=RELEASE,
            release_at=RELEASE,
            drafted_at=RELEASE,
            subject=content.subject,
            preheader=content.preheader,
            content=content.as_json(),
        )
        session.add(edition)
        session.flush()
        replace_fragments(session, edition, pieces)
        session.flush()
        mark = approval.read_current_content_hash(session, edition, settings)
        approval.sign_approval(session, edition, mark, settings=settings, keys=KEYS, actor="eve", now=RELEASE)
    run_edition(database, content.name, open_provider(settings), KEYS, settings, clock=lambda: RELEASE)
    with database.read() as session:
        return find_edition(session, content.name)


def read_messages(settings: Settings) -> dict[str, str]:
    """Give all that each reader could read, without blanks: subject, text, and the words of the HTML with its hidden preview line."""
    read = {}
    for file in (settings.outbox_folder / "edition").rglob("*.eml"):
        mail = message_from_bytes(file.read_bytes(), policy=policy.default)
        html = mail.get_body(("html",))
        words = lxml.html.document_fromstring(html.get_content()).text_content() if html else ""
        said = f"{mail['Subject']} {mail.get_body(('plain',)).get_content()} {words}"  # type: ignore[union-attr]  # each has one
        read[str(mail["To"]).partition("@")[0]] = re.sub(r"[\s\u200c]+", "", said)
    return read


def correct(story: CorrectableStory, field: str) -> Correction:
    was = story.headline if field == "headline" else story.summary
    return Correction(
        edition_id=1, seq=1, at=LATER, url=story.url, section=story.section, field=field, was=was, becomes=f"Not {was}"
    )


def count_and_list(
    database: Database, correction: Correction, edition: Edition, settings: Settings
) -> tuple[CorrectionAudience, set[int]]:
    pages = list(read_recipient_batches(database, correction, edition, settings))
    counts = sum((page.counts for page in pages), CorrectionAudience())
    return counts, {number for page in pages for number in page.recipients}


def test_whoever_could_read_the_error_gets_the_correction_and_nobody_else(
    database: Database, settings: Settings, full_content: EditionContent
) -> None:
    chosen = every_combination(full_content)
    content = replace(full_content, subject=full_content.sections[1].entries[0].headline)
    edition = send_full_edition(database, settings, content, chosen)
    read = read_messages(settings)
    assert len(read) == len(chosen) > 2 * MAX_VARIANTS - 2, "readers wanted more variants than there are"
    every_story = list_correctable_stories(content, ())
    stories = [s for n, s in enumerate(every_story) if [e.section for e in every_story[:n]].count(s.section) < 2]
    reached = set()
    for field in ("headline", "summary"):
        for story in stories:
            sent = story.text_of(field)
            if not sent:
                continue
            told = {n for n in range(len(chosen)) if re.sub(r"\s+", "", sent) in read[f"r{n}"]}
            counts, recipients = count_and_list(database, correct(story, field), edition, settings)
            assert recipients == {n + 1 for n in told}, (field, story.section, sent)
            assert (counts.accepted, counts.spared) == (len(told), len(chosen) - len(told))
            reached.add(len(told))
    assert min(reached) < len(chosen) == max(reached), "one stood in the subject of all"
    # After a restore from before they were claimed, no variant is known: nobody who read it is passed over.
    with database.write() as session:
        session.execute(update(Delivery).values(variant=None))
    for story in stories:
        told = {n + 1 for n in range(len(chosen)) if re.sub(r"\s+", "", story.headline) in read[f"r{n}"]}
        assert told <= count_and_list(database, correct(story, "headline"), edition, settings)[1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("New flood maps move 41,000 homes into the high-risk zone", True),
        ("Also: New flood maps move 41,000 homes…; Ports", True),
        ("New flood maps move…", False),  # what follows is not in it
        ("New flood maps move 4,100 homes into the…", False),
        ("Ports reopen", False),
    ],
)
def test_a_line_that_is_cut_says_the_error_where_the_wrong_word_is_in_it(line: str, says: bool) -> None:  # noqa: FBT001
    sent = "New flood maps move 41,000 homes into the high-risk zone"
    assert contains_uncorrected_text(line, sent, sent.replace("41,000", "4,100")) is says


def test_what_no_fragment_says_word_for_word_is_where_its_story_is_linked() -> None:
    """An operator's template may split a text."""
    pieces = (
        RenderedFragment("html", "head", "<h1>The week</h1>"),
        RenderedFragment(
            "html", "section:featured", '<b>N</b>ew maps <a href="https://a.example/?a=1&amp;b=2">one</a>'
        ),
        RenderedFragment("text", "head", "The week\n"),
        RenderedFragment("text", "section:featured", "N*ew maps\nhttps://a.example/?a=1&b=2\n"),
    )
    mailable = MailableEdition("2026-W47", 1, "The week", "", "", "", "", "", "", "https://n.example", pieces)
    places = CorrectedTextLocations(mailable, "https://a.example/?a=1&b=2", "New maps with a long name", "Old maps")
    assert places.is_in_variant(VariantKey(frozenset(), text_only=True, is_short=False))
    assert not places.is_in_variant(VariantKey(frozenset({"featured"}), text_only=False, is_short=False))
    unknown = replace(places, url="https://elsewhere.example/")
    assert unknown.is_in_variant(VariantKey(frozenset({"featured"}), text_only=False, is_short=False))


def test_a_stored_variant_reads_as_it_was() -> None:
    for key in (
        VariantKey(frozenset(), text_only=False, is_short=False),
        VariantKey(frozenset({"most-read", "events"}), text_only=True, is_short=True),
        VariantKey(frozenset(), text_only=True, is_short=False),
    ):
        assert VariantKey.from_text(key.as_text()) == key

"""The hosts that an edition's texts link to, and which of them are new."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from digest.edition.archive.linked_hosts import LinkedHost, _find_past_hosts, find_url_host, list_linked_hosts
from digest.edition.content.edition_content import EditionContent, LabeledBlock
from digest.store.engine import Database
from digest.store.imported_edition_models import ImportedEdition, ImportedStory
from digest.store.models import Article, Edition, EditionState, EditionStory, Source
from tests.moments import RELEASE

OWN = ("https://news.example.org", "https://hls.today/")


def store_edition(session: Session, content: EditionContent, *, weeks: int = 0) -> Edition:
    at = RELEASE - timedelta(weeks=weeks)
    edition = Edition(
        slot=at.isoformat(), name=f"2026-W{47 - weeks}", number=147 - weeks, opens_at=at, cut_off=at, release_at=at, drafted_at=at,
        state=EditionState.SENT if weeks else EditionState.DRAFT, subject="", preheader="", content=content.as_json(),
    )  # fmt: skip
    session.add(edition)
    session.flush()
    return edition


def store_articles(session: Session, edition: Edition, content: EditionContent) -> None:
    """Store every linked article of an edition as a source's, in its stories."""
    source = Source(name="A source", publisher="A source", url="https://feeds.example.org/", topics=[])
    session.add(source)
    session.flush()
    for number, url in enumerate(content.linked_articles):
        dates = {"dated_at": RELEASE, "found_at": RELEASE, "seen_at": RELEASE, "date_basis": "published"}
        session.add(Article(source_id=source.id, key=str(number), url=url, link=url, title="T", categories=[], **dates))
        story = {"title": "T", "score": 0.0, "terms": [], "reason": "", "position": number, "section": "featured"}
        session.add(EditionStory(edition_id=edition.id, url=url, members=[url], **story))
    session.flush()


def hosts_of(
    database: Database, content: EditionContent, full: EditionContent, *past: EditionContent
) -> dict[str, LinkedHost]:
    with database.write() as session:
        for weeks, before in enumerate(past, 1):
            store_edition(session, before, weeks=weeks)
        edition = store_edition(session, content)
        store_articles(session, edition, full)
        return {host.host: host for host in list_linked_hosts(session, edition, content, OWN)}


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("https://elsewhere.example/?r=1", "elsewhere.example"),
        ("HTTPS://WWW.Elsewhere.Example:443/", "elsewhere.example"),
        (r"https&#58;//elsewhere.example/\?r=1", "elsewhere.example"),
        (r"https\://elsewhere.example/", "elsewhere.example"),
        ("https://news.example.org@elsewhere.example/u/", "elsewhere.example"),
        ("https://elsewhere.example/?x=https://news.example.org/u/", "elsewhere.example"),
        ("https://elsewh\u00e9re.example/", "xn--elsewhre-g1a.example"),
        ("mailto:a@elsewhere.example?cc=b@news.example.org", "elsewhere.example"),
    ],
)
def test_a_link_of_the_intro_is_listed_by_the_host_that_it_really_leads_to(
    one_database: Database, full_content: EditionContent, written: str, host: str
) -> None:
    hosts = hosts_of(one_database, replace(full_content, intro=f"Take our [survey]({written})."), full_content)
    assert hosts[host] == LinkedHost(host, ("Intro",), is_new=True)


def test_every_text_is_looked_at_and_a_story_that_no_source_brought(
    one_database: Database, full_content: EditionContent
) -> None:
    section, *others = full_content.sections
    entry = replace(section.entries[0], note="See www.note.example for more", summary="At https://summary.example/x.")
    added = replace(section.entries[0], headline="Ours", url="https://added.example/story", also=(), related=())
    block = LabeledBlock("b", "sponsor", "Tablets", text="http://block-text.example", url="https://block.example/")
    content = replace(
        full_content,
        subject="https://subject.example",
        preheader="www.preheader.example",
        editor="Dana, https://signature.example",
        intro="[x](https://intro.example) and https://bare.example",
        sections=(replace(section, entries=(entry, added, *section.entries[1:])), *others),
        blocks=(block,),
    )
    hosts = hosts_of(one_database, content, full_content)
    new = {host.host: host.places for host in hosts.values() if host.is_new}
    headline = f"“{entry.headline}”"
    assert new == {
        "subject.example": ("Subject",),
        "preheader.example": ("Preheader",),
        "signature.example": ("Signature",),
        "intro.example": ("Intro",),
        "bare.example": ("Intro",),
        "note.example": (headline,),
        "summary.example": (headline,),
        "added.example": ("“Ours”",),
        "block.example": ("Labeled block “Tablets”",),
        "block-text.example": ("Labeled block “Tablets”",),
    }
    assert [host.is_new for host in hosts.values()] == sorted((h.is_new for h in hosts.values()), reverse=True)


def test_a_host_of_an_article_of_a_past_edition_or_of_ours_is_not_new(
    database: Database, full_content: EditionContent
) -> None:
    article = find_url_host(next(iter(full_content.linked_articles)))
    intro = f"[a](https://{article}/) [b](https://past.example/) [c](https://news.example.org/about) [d](https://imported.example/)"
    before = replace(full_content, intro="[past](https://PAST.example/x)")
    with database.write() as session:
        stories = [ImportedStory(url="https://www.imported.example/story", headline="H")]
        moments = {"released_at": RELEASE - timedelta(weeks=9), "imported_at": RELEASE, "imported_by": "test"}
        session.add(ImportedEdition(address="a", name="2026-W38", title="T", stories=stories, **moments))
    hosts = hosts_of(database, replace(full_content, intro=intro), full_content, before)
    linked = {article, "past.example", "news.example.org", "imported.example"}
    assert {name: hosts[name].is_new for name in linked} == dict.fromkeys(linked, False)


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://", "www.", "https://x:y:z/", "mailto:", "https://\u2024\u2024/"]
)
def test_a_url_that_leads_nowhere_is_shown_as_it_is(url: str) -> None:
    assert find_url_host(url)


def test_a_name_that_a_past_edition_only_resembles_is_new(database: Database, full_content: EditionContent) -> None:
    before = replace(
        full_content,
        intro="[x](https://notpast.example/) [y](https://past.example.org/) [z](https://a.example/past.example)",
    )
    content = replace(full_content, intro="[x](https://past.example/)")
    assert hosts_of(database, content, full_content, before)["past.example"].is_new


def test_a_search_that_ends_early_leaves_no_cursor_open(postgresql: Database, full_content: EditionContent) -> None:
    """PostgreSQL's driver warns of one that's left to the garbage collector."""
    before = replace(full_content, intro="Take our [survey](https://elsewhere.example/).")
    with postgresql.write() as session:
        for weeks in range(1, 30):
            store_edition(session, before, weeks=weeks)
        edition = store_edition(session, full_content)
        assert _find_past_hosts(session, edition, ["elsewhere.example"]) == {"elsewhere.example"}
        assert session.scalar(text("SELECT count(*) FROM pg_cursors")) == 0

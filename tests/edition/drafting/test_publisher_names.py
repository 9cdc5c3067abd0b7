"""An aggregator's article has its publisher's name, even if the feed gives only the host."""

from datetime import timedelta

from digest.edition.calendar.edition_windows import EditionWindow
from digest.edition.drafting.candidates import load_candidates
from digest.store.engine import Database
from digest.store.models import Article, Source
from tests.moments import DRAFTING as OPENS

WINDOW = EditionWindow(OPENS, OPENS + timedelta(days=3), OPENS - timedelta(days=7))
FEEDS = {
    "https://lists.example/feed": "Lists",
    "https://www.harbor.example/rss": "Harbor Light",
    "https://feeds.quay.example/a": "The Quay",
    "https://hosting.example/a": "Alpha",
    "https://hosting.example/b": "Beta",
}
HOSTS = ("harbor.example", "quay.example", "hosting.example", "unknown.example")


def test_a_host_has_the_name_of_the_source_on_it(one_database: Database) -> None:
    found_at = OPENS + timedelta(days=1)
    with one_database.write() as session:
        lists, *_ = sources = [Source(url=url, name=name, publisher=name, topics={}) for url, name in FEEDS.items()]
        session.add_all(sources)
        for host in HOSTS:
            url = f"https://{host}/1"
            dates = {"dated_at": found_at, "date_basis": "published", "found_at": found_at, "seen_at": found_at}
            article = Article(key=host, url=url, link=url, title="Port opens", publisher=host, categories=[], **dates)
            article.source = lists
            session.add(article)
    with one_database.read() as session:
        candidates = load_candidates(session, WINDOW, WINDOW.cut_off)
    publishers = {candidate.url: candidate.publisher for candidate in candidates}
    assert [publishers[f"https://{host}/1"] for host in HOSTS] == ["Harbor Light", "The Quay", *HOSTS[2:]]

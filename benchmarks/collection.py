"""CPU seconds to collect 5,000 and 50,000 made-up articles of 100 feeds from memory: `python -m benchmarks.collection`.

All of it is real but the network: child processes parse the bytes of each feed, the main thread stores into SQLite
with synchronous=FULL. The children count, with what it takes to start them. The third column is the same feeds
again, when nothing has changed.
"""

import os
import random
import resource
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Unpack

from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult, RequestOptions
from digest.collect.sandbox.client import SANDBOX
from digest.collect.visits.collection_run import collect_sources
from digest.settings import Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import migrate_schema, open_database

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
FEEDS = 100
WORDS = [
    "port",
    "bridge",
    "storm",
    "harbour",
    "ferry",
    "pilot",
    "crane",
    "rescue",
    "radio",
    "flood",
    "fire",
    "guard",
    "border",
    "cargo",
    "night",
    "crew",
]


class MemoryGetter:
    """A `Getter` that answers from a dictionary."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self._documents = documents

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        """Give the document at `url`."""
        del options
        if url not in self._documents:
            raise FetchError(url, FetchErrorReason.DNS, "no such host")
        return FetchResult(url=url, status=200, body=self._documents[url], content_type="application/rss+xml")

    def may_read(self, url: str) -> bool:
        """Let everything be read."""
        return url in self._documents


def feed_url(feed: int) -> str:
    """Name the address of a made-up feed."""
    return f"https://agency{feed}.example.org/feed.xml"


def made_up_feeds(articles: int, seed: int = 1) -> dict[str, bytes]:
    """Make RSS feeds as WordPress serves them: a description of 40 words and a body of 300, with mark-up."""
    chance = random.Random(seed)
    each = articles // FEEDS
    return {feed_url(n): _rss_feed(n, each, chance) for n in range(FEEDS)}


def _rss_feed(feed: int, items: int, rng: random.Random) -> bytes:
    parts = ['<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>']
    parts.append(f"<title>Agency {feed}</title><link>https://agency{feed}.example.org/</link>")
    for number in range(items):
        moment = NOW - timedelta(minutes=rng.randrange(7 * 24 * 60))
        link = f"https://agency{feed}.example.org/2026/{number}/?utm_source=rss"
        body = "".join(f"<p>{_random_words(rng, 60)}.</p>" for _ in range(5))
        parts.append(
            f"<item><title>{_random_words(rng, 9)} {number}</title><link>{link}</link>"
            f'<guid isPermaLink="false">https://agency{feed}.example.org/?p={number}</guid>'
            f"<pubDate>{format_datetime(moment)}</pubDate><category>{_random_words(rng, 1)}</category>"
            f"<description><![CDATA[<p>{_random_words(rng, 40)}.</p>]]></description>"
            f"<content:encoded><![CDATA[<img src='/p/{number}.jpg'/>{body}]]></content:encoded></item>"
        )
    parts.append("</channel></rss>")
    return "".join(parts).encode()


def _random_words(rng: random.Random, number: int) -> str:
    return " ".join(rng.choices(WORDS, k=number))


def cpu_seconds() -> float:
    """Give the CPU seconds of this process, of the children that ended, and of the sandbox's, which still live.

    A fork server's children are nobody's to wait for but its own: what they took stands in /proc alone.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == SANDBOX.ensure_running_broker().process.pid:  # its session
                ticks += sum(map(int, fields[11:15]))  # its own in both modes, and its ended children's
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def measure_collection(articles: int) -> tuple[float, float]:
    """Give the CPU seconds of collecting that many articles, and of collecting them again."""
    SANDBOX.stop()  # the start of the children is a part of it
    world = MemoryGetter(made_up_feeds(articles))
    sources = [SourceSettings(url=feed_url(n), name=f"Agency {n}", publisher=f"A{n}") for n in range(FEEDS)]
    settings = Settings(file=SettingsFileContent(sources=sources, limits=UsageLimitSettings(fetch_workers=8)))
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{Path(folder) / 'bench.db'}")
        migrate_schema(database)
        seconds = []
        for expected in (articles, 0):
            began = cpu_seconds()
            reports = collect_sources(database, world, settings, now=NOW, force=True)
            seconds.append(cpu_seconds() - began)
            assert sum(report.new for report in reports) == expected
        database.close()
    return seconds[0], seconds[1]


def main() -> None:
    """Print both sizes and their ratio."""
    results = {articles: measure_collection(articles) for articles in (5_000, 50_000)}
    for articles, (first, again) in results.items():
        print(f"{articles:>7,} articles collected: {first:6.2f} s of CPU; again, unchanged: {again:6.2f} s")
    (small, _), (large, _) = results.values()
    print(f"10 times the articles take {large / small:.1f} times as long (the bar for the whole is 15)")


if __name__ == "__main__":
    main()

"""The bundled sample week is complete, can be parsed, names no real people, and has valid images."""

import csv
import json
import re
from datetime import datetime
from email.utils import parseaddr
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

import digest
from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument, ParsedItem
from digest.collect.parsers import parse_document
from digest.collect.texts.urls import canonical_url
from digest.settings import SettingsFileContent, load_settings
from subscribers.consent.preferences import Preferences
from tests.moments import DRAFTING as NOW

SAMPLE = Path(digest.__file__).parent / "sample"
INDEX: dict[str, dict[str, str]] = json.loads((SAMPLE / "index.json").read_text("utf-8"))
IMAGES = sorted(SAMPLE.glob("*.jpg"))
INVENTED = {"example.org", "example.com", "example.net"}  # RFC 2606: nobody's
NAMESPACES = {  # identifiers in documents, not places
    "purl.org",
    "www.w3.org",
    "jsonfeed.org",
    "schema.org",
    "my.netscape.com",
}
REAL_AGENCIES = re.compile(
    r"\b(?:FEMA|CISA|DHS|TSA|CBP|FBI|CIA|NSA|INTERPOL|Interpol|Europol|EUROPOL|Frontex|NCSC|NIST|NOAA|USGS|EPA|FAA|"
    r"IAEA|Homeland Security (?:Department|Investigations)|Department of|Secret Service|Coast Guard|Border Patrol|"
    r"United Nations|European (?:Union|Commission)|Red Cross|Reuters|Associated Press|Microsoft|Google|Cisco|Motorola)\b"
)


def _settings() -> SettingsFileContent:
    return load_settings(SAMPLE / "digest.toml", {}).file


def _readings() -> dict[str, ParsedDocument]:
    return {
        url: parse_document((SAMPLE / e["file"]).read_bytes(), url=url, now=NOW)
        for url, e in INDEX.items()
        if not e["content_type"].startswith("image/")
    }


@pytest.fixture(scope="module")
def readings() -> dict[str, ParsedDocument]:
    return _readings()


@pytest.fixture(scope="module")
def items(readings: dict[str, ParsedDocument]) -> list[ParsedItem]:
    return list(chain.from_iterable(r.items for r in readings.values()))


def _texts() -> list[Path]:
    return [f for f in sorted(SAMPLE.iterdir()) if f.suffix != ".jpg" and f.is_file()]


def _text(file: Path) -> str:
    return file.read_text("latin-1" if file.name == "county-line.xml" else "utf-8")


def test_every_indexed_file_exists_and_no_file_lies_unused() -> None:
    own = {"index.json", "digest.toml", "readers.csv", "readership.csv"}
    assert {e["file"] for e in INDEX.values()} | own == {f.name for f in SAMPLE.iterdir() if f.is_file()}


def test_every_source_of_the_settings_is_served() -> None:
    assert {s.url for s in _settings().sources} <= INDEX.keys()


def test_the_sample_gives_sixty_items_of_eight_sources_and_each_feed_kind(readings: dict[str, ParsedDocument]) -> None:
    feeds = {url: r for url, r in readings.items() if r.items}
    assert sum(len(r.items) for r in feeds.values()) >= 60
    assert len({urlsplit(url).hostname for url in feeds}) >= 8
    expected = {
        DocumentKind.RSS,
        DocumentKind.RDF,
        DocumentKind.ATOM,
        DocumentKind.JSON_FEED,
        DocumentKind.WORDPRESS,
        DocumentKind.ICALENDAR,
        DocumentKind.PAGE,
    }
    assert expected <= {r.kind for r in feeds.values()}
    versions = [_text(SAMPLE / e["file"])[:400] for e in INDEX.values() if e["file"].endswith(".xml")]
    assert any('version="0.91"' in v for v in versions)
    assert any('version="2.0"' in v for v in versions)


def test_only_a_cancelled_event_is_rejected(readings: dict[str, ParsedDocument]) -> None:
    rejected = [r.reason for reading in readings.values() for r in reading.rejected]
    assert rejected == ["the event is canceled"]


def test_a_sites_page_names_its_feed_and_the_feed_is_served(readings: dict[str, ParsedDocument]) -> None:
    page = readings["https://borderdigest.example.org/"]
    assert page.feeds[0].url in INDEX


def test_the_sample_holds_the_traps_of_real_weeks(items: list[ParsedItem]) -> None:
    assert {DateBasis.FIRST_SEEN_FUTURE, DateBasis.FIRST_SEEN_NO_DATE, DateBasis.UPDATED, DateBasis.PAGE} <= {
        i.date_basis for i in items
    }
    assert any(i.featured for i in items)
    assert any(i.link != i.url and "utm_" in i.link for i in items)
    assert any("/amp" in i.link and "/amp" not in i.url for i in items)
    assert any("\N{ARABIC LETTER MEEM}" in i.title for i in items)
    assert any("\N{RADIO}" in i.title for i in items)
    guids = [i.guid for i in items if i.guid]
    assert len(set(guids)) < len(guids)
    assert any(i.all_day for i in items)
    assert any(i.deadline and i.deadline.day < NOW.date() for i in items)


def test_no_mail_address_of_an_author_comes_through(items: list[ParsedItem]) -> None:
    assert not [i for i in items if "@" in f"{i.author}{i.title}{i.summary}"]


def test_headlines_and_summaries_have_the_length_of_good_news(items: list[ParsedItem]) -> None:
    assert [i.title for i in items if not 5 <= len(i.title) <= 80] == []
    written = [i for i in items if i.starts_at is None]  # an event's note may be short
    assert [i.title for i in written if not 14 <= len(i.summary.split()) <= 45] == []


def test_no_host_in_the_sample_is_anybodys() -> None:
    for file in _texts():
        hosts = {h.lower() for h in re.findall(r"https?:(?:\\?/){2}([^/\\\s\"'<>:]+)", _text(file))}
        assert {h for h in hosts if not _invented(h)} <= NAMESPACES, file.name
        addresses = re.findall(r"[\w.+-]+@([\w.-]*\w)", _text(file))
        assert [a for a in addresses if not _invented(a)] == [], file.name


def _invented(host: str) -> bool:
    return ".".join(host.split(".")[-2:]) in INVENTED


def test_no_real_agency_is_made_to_say_anything() -> None:
    for file in _texts():
        assert REAL_AGENCIES.findall(_text(file)) == [], file.name


def test_every_opportunity_has_a_closing_day(readings: dict[str, ParsedDocument]) -> None:
    items = readings["https://opencalls.example.org/rss"].items
    assert len(items) == 6
    assert [i.title for i in items if i.deadline is None] == []


def test_every_picture_that_may_be_mailed_is_served_and_described(readings: dict[str, ParsedDocument]) -> None:
    mailed = [
        item
        for source in _settings().sources
        if source.images != "none" and source.url in readings
        for item in readings[source.url].items
        if item.image_url
    ]
    assert len(mailed) >= 12
    assert [i.image_url for i in mailed if i.image_url not in INDEX] == []
    assert [i.title for i in mailed if not i.image_alt] == []


@pytest.mark.parametrize("file", IMAGES, ids=lambda f: f.stem)
def test_a_picture_is_a_light_jpeg_of_the_leads_size(file: Path) -> None:
    with Image.open(file) as picture:
        picture.load()
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (1200, 675), "RGB")
        assert not picture.getexif()
    assert file.stat().st_size <= 120_000


def test_readership_counts_pages_of_the_own_site() -> None:
    with (SAMPLE / "readership.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) >= 15
    own = next(s for s in _settings().sources if s.own)
    after = (SAMPLE / "next-week" / "hls-today.json").read_bytes()
    readings = [_readings()[own.url], parse_document(after, url=own.url, now=NOW)]
    pages = {item.url for reading in readings for item in reading.items}
    assert {canonical_url(r["url"]) for r in rows} <= pages
    assert all(int(r["views"]) > 0 for r in rows)


def test_twelve_invented_subscribers_with_preferences_that_the_sections_know() -> None:
    with (SAMPLE / "readers.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len({r["address"] for r in rows}) == 12
    chosen = [Preferences.from_json(json.loads(r["choices"])) for r in rows]
    assert {s.key for s in _settings().sections} >= set(chain.from_iterable(c.omit for c in chosen))
    assert any(c.text_only for c in chosen)
    assert any(c.is_paused(NOW.date()) for c in chosen)
    assert all(datetime.fromisoformat(r["asked_at"]) < NOW for r in rows)
    assert all(parseaddr(r["address"])[1] == r["address"] for r in rows)


def test_the_intro_fits_and_the_sponsor_is_short() -> None:
    file = _settings()
    assert len(file.publication.intro.split()) <= 60
    assert file.sponsor is not None
    assert len(file.sponsor.text.split()) <= 25
    assert file.publication.first_number == 147

"""The settings that `digest init` writes can be loaded, name enough real sources, and show every key with its default."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

import digest
from digest.settings import (
    DEFAULT_SECTIONS,
    SOURCE_SECTIONS,
    SettingsFileContent,
    SourceSettings,
    SponsorSettings,
    load_settings,
)
from digest.settings.built_in_topics import read_built_in_topics

SHIPPED = Path(digest.__file__).parent / "shipped.toml"
TEXT = SHIPPED.read_text("utf-8")


def _uncommented() -> dict[str, Any]:
    """Read the part before the sources with every commented key switched on."""
    head = TEXT[: TEXT.index("# Sources ---")]
    keys = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)
    return tomllib.loads(keys.sub("", head))


def test_the_shipped_settings_load() -> None:
    assert load_settings(SHIPPED, {}).origin == SHIPPED


def test_they_name_sixty_sources_of_forty_publishers_and_feed_every_section() -> None:
    file = load_settings(SHIPPED, {}).file
    sources = file.sources
    assert len({s.url for s in sources}) == len(sources) >= 60
    assert len({s.publisher for s in sources}) >= 40
    assert {section.source_section for section in file.sections} <= {s.section for s in sources if not s.paused}
    assert all(s.url.startswith("https://") and urlsplit(s.url).hostname for s in sources)


def test_general_press_products_conferences_and_grants_are_among_them() -> None:
    sources = load_settings(SHIPPED, {}).file.sources
    of_news = [s.publisher for s in sources if s.section == "news" and not s.primary and not s.default_topic]
    assert len(of_news) >= 9, "how many publishers carry a story counts most"
    by_section: Counter[str] = Counter(s.section for s in sources)
    assert min(by_section[name] for name in SOURCE_SECTIONS) >= 3


def test_every_source_has_its_license_and_most_the_day_of_their_check() -> None:
    sources = load_settings(SHIPPED, {}).file.sources
    assert [s.name for s in sources if not s.license] == []
    unchecked = [s.name for s in sources if not s.checked and not s.own]
    assert len(unchecked) <= len(sources) / 5, unchecked
    topics = {topic["name"] for topic in read_built_in_topics()}
    assert {s.default_topic for s in sources} - topics == {""}


def test_only_images_of_the_own_site_and_of_us_agencies_are_mailed() -> None:
    sources = load_settings(SHIPPED, {}).file.sources
    assert [(s.publisher, s.images) for s in sources if s.own or s.images in {"own", "licensed"}] == [
        ("HLS.Today", "own")
    ]
    credited = [s for s in sources if s.images == "credited"]
    assert {s.publisher for s in credited} >= {"CISA", "FEMA", "USGS", "NASA", "DVIDS"}
    assert all("public domain" in s.license for s in credited)


def test_every_official_source_is_primary_and_the_press_is_not() -> None:
    for source in load_settings(SHIPPED, {}).file.sources:
        host = urlsplit(source.url).hostname or ""
        if host.endswith((".gov", ".gov.uk", ".europa.eu", ".int")) and host != "reliefweb.int":
            assert source.primary, source.name


def test_every_table_and_key_stands_in_the_file_with_its_default() -> None:
    shipped = _uncommented()
    for table, field in SettingsFileContent.model_fields.items():
        if table in {"sources", "sections", "sponsor"}:
            continue
        assert isinstance(default := field.default, BaseModel)
        assert _flat(shipped[table]) == _flat(default.model_dump(mode="json")), table
    kept = [s.model_dump(mode="json", exclude_defaults=True) for s in DEFAULT_SECTIONS]
    assert [{"most": 5} | s for s in shipped["sections"]] == [{"most": 5} | s for s in kept]
    assert shipped["sponsor"].keys() == SponsorSettings.model_fields.keys()


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    return {k: _flat(v) if isinstance(v, dict) else v for k, v in table.items()}


def test_every_key_of_a_source_is_explained() -> None:
    guide = TEXT[TEXT.index("# Sources ---") : TEXT.index('\n[[sources]]\nname = "HLS.Today"')]
    assert set(re.findall(r"^# (\w+) = ", guide, re.MULTILINE)) == SourceSettings.model_fields.keys()


def test_with_all_comments_off_the_file_still_loads(tmp_path: Path) -> None:
    head = TEXT[: TEXT.index("# Sources ---")]
    file = tmp_path / "digest.toml"
    file.write_text(re.sub(r"^# (?=\[|[a-z_]+ = )", "", head, flags=re.MULTILINE), "utf-8")
    assert load_settings(file, {}).file.publication == SettingsFileContent().publication

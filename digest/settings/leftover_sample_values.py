"""Values of the default publication or the sample that a publication with another name still uses.

All texts for subscribers are compared with the values in the default settings and in the sample's
settings file, so keys that are added to the sample are also checked.
"""

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from digest.settings.misspelled_names import find_table
from digest.settings.model import SettingsFileContent

SAMPLE_SETTINGS = Path(__file__).parents[1] / "sample" / "digest.toml"
# Tables of texts for subscribers, each with keys that aren't texts or are checked as addresses.
_ADDRESS_KEYS = ("address", "reply_to", "list_id")
_TABLES = (
    ("publication", frozenset({"name", "language", "timezone", "first_number"})),
    ("sender", frozenset({*_ADDRESS_KEYS, "bounce_domain"})),
    ("consent", frozenset[str]()),
    ("sponsor", frozenset[str]()),
)
_SAMPLE_DOMAIN = "news.example.org"


def list_leftover_texts(file: SettingsFileContent) -> tuple[str, ...]:
    """Return the keys of settings that still have HLS.Today's or the sample's texts.

    For HLS.Today itself, return an empty tuple.
    """
    if not _has_other_name(file):
        return ()
    texts = (
        (table, key, value)
        for table, omitted in _TABLES
        for key, value in _texts_of(file, table).items()
        if key not in omitted
    )
    return tuple(f"{table}.{key}" for table, key, value in texts if _is_foreign(table, key, value))


def list_sample_addresses(file: SettingsFileContent) -> tuple[str, ...]:
    """Return the keys of sender settings that still use the sample's domain.

    For HLS.Today itself, return an empty tuple.
    """
    if not _has_other_name(file):
        return ()
    return tuple(f"sender.{key}" for key in _ADDRESS_KEYS if str(getattr(file.sender, key)).endswith(_SAMPLE_DOMAIN))


def name_setting(key: str) -> str:
    """Return the place of a setting on the settings pages, such as "Sender → Postal address".

    If no page shows the setting, return its key.
    """
    table_name, name = key.split(".")
    table = find_table((table_name,))
    label = table.model_fields[name].title if table else None
    return f"{table.model_config.get('title')} → {label}" if table and label else key


def list_sample_sources(file: SettingsFileContent) -> tuple[str, ...]:
    """Return the names of made-up sources from the sample that the settings still have.

    For HLS.Today itself, return an empty tuple.
    """
    if not _has_other_name(file):
        return ()
    invented = {str(source["url"]) for source in _read_sample().get("sources", ())}
    return tuple(source.name or source.url for source in file.sources if source.url in invented)


def _is_foreign(table: str, key: str, value: str) -> bool:
    """Return True if a text is from the defaults or the sample.

    Layout and punctuation are ignored.
    """
    default_name, value_words = _join_text_words(SettingsFileContent().publication.name), _join_text_words(value)
    sample = _join_text_words(str(_read_sample().get(table, {}).get(key, "")))
    originals = {_join_text_words(_texts_of(SettingsFileContent(), table).get(key, "")), sample}
    # The sample's postal address may come after a different name.
    holds_sample = key == "postal_address" and sample.removeprefix(f"{default_name} ") in value_words
    return bool(value_words) and (value_words in originals or holds_sample)


def _texts_of(file: SettingsFileContent, table: str) -> dict[str, str]:
    settings = getattr(file, table)
    return {key: value for key, value in settings if isinstance(value, str)} if settings is not None else {}


def _join_text_words(text: str) -> str:
    """Return the words of a text in lowercase, without layout and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


@lru_cache(maxsize=1)
def _read_sample() -> dict[str, Any]:
    return tomllib.loads(SAMPLE_SETTINGS.read_text("utf-8"))


def _has_other_name(file: SettingsFileContent) -> bool:
    return file.publication.name != SettingsFileContent().publication.name

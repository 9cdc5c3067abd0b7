"""Suggestions for unknown names in the settings."""

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import BaseModel

from digest.settings.environment_overrides import find_model
from digest.settings.model import SettingsFileContent
from digest.settings.setting_lines import KeyPath

MIN_LIKENESS = 0.7  # difflib's similarity ratio for two names, which is 1 if they're equal


def phrase_name_suggestion(name: str, known_names: Iterable[str], *, prefix: str = "") -> str:
    """Return the end of a sentence that suggests the known name that's most similar.

    If no name is similar, return an empty string. A `prefix` that all names share is ignored,
    because it would make any two of them similar.
    """
    bare = {each.removeprefix(prefix): each for each in known_names}
    near = get_close_matches(name.removeprefix(prefix), bare, n=1, cutoff=MIN_LIKENESS)
    return f"; did you mean {bare[near[0]]}?" if near else ""


def phrase_key_suggestion(path: KeyPath) -> str:
    """Return the end of a sentence about an unknown key in `digest.toml`.

    It suggests a similar key, or the table that the key belongs to. If there's no suggestion,
    return an empty string.
    """
    *above, name = path
    table = find_table(above)
    if table is None:
        return ""
    if suggested := phrase_name_suggestion(str(name), table.model_fields):
        return suggested
    owners = [owner for owner in SettingsFileContent.model_fields if _has_key(owner, str(name))]
    return f"; it belongs under [{owners[0]}]" if len(owners) == 1 else ""


def find_table(path: KeyPath) -> type[BaseModel] | None:
    """Return the model of a table in `digest.toml`, or None if there's no such table."""
    table: type[BaseModel] | None = SettingsFileContent
    for step in path:
        if table is not None and isinstance(step, str):
            field = table.model_fields.get(step)
            table = find_model(field.annotation) if field else None
    return table


def _has_key(table: str, key: str) -> bool:
    model = find_table((table,))
    return model is not None and key in model.model_fields

"""Names that settings do not have: which one was probably meant, and on which line of its file the wrong one stands."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from digest.settings.model import SettingsFile

MIN_LIKENESS = 0.7  # of two names, as difflib measures it: 1 for the same
_HEADER = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<name>[\w.\"'-]+)\s*\]")
_KEY = re.compile(r"\s*(?P<name>[\w\"'-]+)\s*=")

KeyPath = Sequence[str | int]  # such as ("sources", 0, "publisher"), as pydantic names a place


def suggest_name(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Ask whether the nearest of the known names was meant, to end a sentence with; empty where none is near.

    A `prefix` that all names have is left out of the comparison: it would make any two of them alike.
    """
    bare = {each.removeprefix(prefix): each for each in known}
    near = get_close_matches(name.removeprefix(prefix), bare, n=1, cutoff=MIN_LIKENESS)
    return f"; did you mean {bare[near[0]]}?" if near else ""


def suggest_key(path: KeyPath) -> str:
    """Ask whether another key was meant than the one at a path of `digest.toml`, or say which table has it; else empty."""
    *above, name = path
    table = _find_table(above)
    if table is None:
        return ""
    if suggested := suggest_name(str(name), table.model_fields):
        return suggested
    owners = [owner for owner in SettingsFile.model_fields if _has_key(owner, str(name))]
    return f"; it belongs under [{owners[0]}]" if len(owners) == 1 else ""


def _find_table(path: KeyPath) -> type[BaseModel] | None:
    """Find the model of a table of `digest.toml`; None where there is none."""
    table: type[BaseModel] | None = SettingsFile
    for step in path:
        if table is not None and isinstance(step, str):
            field = table.model_fields.get(step)
            table = _find_model(field.annotation) if field else None
    return table


def _find_model(annotation: Any) -> type[BaseModel] | None:
    """Find the model in an annotation such as `list[Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _find_model(part))), None)


def _has_key(table: str, key: str) -> bool:
    model = _find_table((table,))
    return model is not None and key in model.model_fields


def find_key_line(text: str, path: KeyPath) -> int | None:
    """Find on which line of a TOML text a key stands, counted from 1; None where it is not written on a line of its own."""
    *above, name = path
    names = [step for step in above if isinstance(step, str)]
    wanted = (".".join(names), next((step for step in above if isinstance(step, int)), 0))
    table, place, counts = "", 0, dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _unquote(header["name"])
            place = counts.get(table, 0) if header["open"] == "[[" else 0
            counts[table] = place + 1
            if not above and table == name:
                return number
        elif (key := _KEY.match(line)) and (table, place) == wanted and _unquote(key["name"]) == name:
            return number
    return None


def find_variable_line(text: str, name: str) -> int | None:
    """Find on which line of an environment file a variable is set, counted from 1; None where it is not."""
    lines = enumerate(text.splitlines(), 1)
    return next((number for number, line in lines if line.partition("=")[0].strip() == name), None)


def _unquote(name: str) -> str:
    return name.replace('"', "").replace("'", "")

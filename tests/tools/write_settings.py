"""Write the files generated from the settings: `docs/settings.md`, and the part of `digest/shipped.toml` before its sources.

    make settings

A setting is declared once, in `digest/settings`, with `setting` or `file_only_setting` (`digest/settings/values.py`).
"""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from digest.settings import DEFAULT_SECTIONS, SettingsFileContent, SourceSettings
from digest.settings.environment_overrides import build_variable_name, find_model
from tests.conftest import ROOT

GUIDE, SAMPLE = ROOT / "docs" / "settings.md", ROOT / "digest" / "shipped.toml"
FIRST_SOURCE = "\n[[sources]]\n"
SOURCES_LINE = f"# Sources {'-' * 108}\n"
_COMMENT_COLUMN = 36
_MAX_SHOWN = 3  # entries of a default list that the guide shows
_MAX_LENGTH = 45  # characters of a default that the guide shows
_SAMPLE_VALUES = {"url": "https://www.example.com/"}  # of settings without a default
_SAMPLE_HEAD = """\
# digest.toml: what an operator decides. `digest init` writes this file; change it as you like.
#
# A line that begins with # is off and shows the default. Secrets and paths aren't here: they come from the
# environment (DIGEST_HOME, DIGEST_DATABASE_URL, DIGEST_MAIL_URL, DIGEST_BASE_URL …),
# which also takes precedence over this file. `digest doctor` checks both and names every key that's wrong.
"""
_SAMPLE_SOURCES = """\
#
# Texts from US agencies are in the public domain. So are images that an agency made: `images = "credited"` decides that
# by each image's own credit.
# `digest sources test URL` shows what a URL provides. `digest doctor --online` shows which sources answer, and why others
# don't. Agencies in particular refuse many servers. `checked` is empty if the URL is known only from public code.
# DHS OIG, FAA, SAM.gov, and Grants.gov aren't included, because they have no feed that's known to work. Before you add
# hstoday.us, ask its publisher: it refuses most servers (403).
"""
_SAID_IN_HEAD = re.compile(r" (?:Leave empty for n(?:one|o \w+)|Use 0 for n(?:one|o limit))\.")
_GUIDE_HEAD = """\
# Settings

`digest init` writes a `digest.toml` with every key. A running service [rereads it](operating.md#services). Most settings are also under **Admin → Settings**, and each has an [environment variable](environment.md#settings).
Unless stated otherwise, an empty value means none, and 0 means no limit.

"""


def list_tables(
    model: type[BaseModel] = SettingsFileContent, above: str = ""
) -> Iterator[tuple[str, type[BaseModel], bool]]:
    """Name every table with its model, and whether the file may have several of it."""
    for name, field in model.model_fields.items():
        if table := find_model(field.annotation):
            path = f"{above}{name}"
            yield path, table, get_origin(field.annotation) is list
            yield from list_tables(table, f"{path}.")


def list_settings(table: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the settings of a table, without the tables below it."""
    return {name: field for name, field in table.model_fields.items() if not find_model(field.annotation)}


def find_undescribed(tables: Iterable[tuple[str, type[BaseModel], bool]]) -> list[str]:
    """Name the tables without a docstring, and the settings without a description or without words for a choice."""
    missing = []
    for path, table, _ in tables:
        missing += [] if table.__doc__ else [f"[{path}]: docstring"]
        for name, field in list_settings(table).items():
            missing += [] if field.description else [f"{path}.{name}: description"]
            words = read_extra(field, "choices") if field.title else list_choices(field)
            missing += [f"{path}.{name}: words for {value!r}" for value in list_choices(field) if value not in words]
    return missing


def read_extra(field: FieldInfo, name: str) -> Any:
    """Return one of the further facts that `setting` declares."""
    return (field.json_schema_extra or {}).get(name, "")  # type: ignore[union-attr]  # a dictionary, as `setting` makes it


def list_choices(field: FieldInfo) -> tuple[Any, ...]:
    """Return the values that a setting offers; none if it isn't a choice."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def describe_briefly(name: str, field: FieldInfo, title_form: str) -> str:
    """Return the title that a form has, unless it repeats the key, and the description."""
    if not field.title or re.sub("[- ]", "", field.title.lower()) == name.replace("_", ""):
        return str(field.description)
    return f"{title_form.format(field.title)} {field.description}"


def write_guide() -> str:
    """Return the text of `docs/settings.md`."""
    parts = [_GUIDE_HEAD]
    for path, table, is_list in list_tables():
        heading = f"## [[{path}]]" if is_list else f"## [{path}]"
        settings = list_settings(table)
        has_bounds = any(map(describe_allowed, settings.values()))
        rows = "".join(_write_guide_row(name, field, has_bounds=has_bounds) for name, field in settings.items())
        text = textwrap.dedent(f"    {table.__doc__}").strip()
        text += f" `{build_variable_name((path,))}` sets the whole list." if is_list else ""
        titles = ["key", "default", *(["allowed"] if has_bounds else []), "description"]
        head = f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}\n"
        parts.append(f"{heading}\n\n{text}\n\n{head}{rows}\n")
    return "".join(parts).rstrip("\n") + "\n"


def _write_guide_row(name: str, field: FieldInfo, *, has_bounds: bool) -> str:
    parts = (describe_briefly(name, field, "**{}.**"), read_extra(field, "details"))
    words = _SAID_IN_HEAD.sub("", " ".join(filter(None, parts)))
    allowed = f" {describe_allowed(field)} |" if has_bounds else ""
    return f"| `{name}` | {_write_guide_default(field)} |{allowed} {words} |\n"


def _write_guide_default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    if isinstance(field.default, list) and len(field.default) > _MAX_SHOWN:
        return f"{len(field.default)} names"
    value = write_value(field.default)
    return f"`{value}`" if len(value) <= _MAX_LENGTH else f"`{value[: value.rindex(' ', 0, _MAX_LENGTH)]}…`"


def write_value(value: object) -> str:
    """Return a value as TOML, for the kinds of default that settings have: JSON writes these the same way."""
    return json.dumps(value, ensure_ascii=False)


def describe_allowed(field: FieldInfo) -> str:
    """Say which values a setting accepts; empty if its type says enough."""
    if choices := list_choices(field):
        return ", ".join(f"`{write_value(value)}`" for value in choices)
    bounds = {
        name: getattr(mark, name) for mark in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(mark, name)
    }
    written = {name: f"{value:,}" for name, value in bounds.items()}
    if {"ge", "le"} <= written.keys():
        return f"{written['ge']} to {written['le']}"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(f"{signs[name]} {text}" for name, text in written.items())


def write_sample(sample: str) -> str:
    """Return the text of the sample file with everything before its first source written anew."""
    parts = [_SAMPLE_HEAD]
    for path, table, _ in list_tables():
        if path != "sources":
            parts.append(_write_sample_table(path, table))
    guide = _write_sample_table("sources", SourceSettings)
    sources = sample[sample.index(FIRST_SOURCE) :]
    return "\n".join([*parts, SOURCES_LINE, guide]) + _SAMPLE_SOURCES + sources


def _write_sample_table(path: str, table: type[BaseModel]) -> str:
    summary, *_ = str(table.__doc__).strip().split("\n\n")
    comment = textwrap.fill(_strip_markup(summary), 118, initial_indent="# ", subsequent_indent="# ")
    settings = list_settings(table)
    if path == "sections":
        rows = [section.model_dump(exclude_defaults=True) for section in DEFAULT_SECTIONS]
        blocks = ["".join(f"# {name} = {write_value(value)}\n" for name, value in row.items()) for row in rows]
        keys = "".join(_write_sample_line("#   ", name, field) for name, field in settings.items())
        return f"{comment}\n# Its keys are:\n{keys}" + "".join(f"#\n# [[sections]]\n{block}" for block in blocks)
    header = {"sources": "# [[sources]]", "sponsor": "# [sponsor]"}.get(path, f"[{path}]")
    lines = "".join(_write_sample_line("# ", name, field) for name, field in settings.items())
    return f"{comment}\n{header}\n{lines}"


def _write_sample_line(start: str, name: str, field: FieldInfo) -> str:
    value = _SAMPLE_VALUES.get(name, "…") if field.is_required() else field.default
    choices = [write_value(choice) for choice in list_choices(field)]
    comment = [_strip_markup(describe_briefly(name, field, "{}.")), f"One of {', '.join(choices)}." if choices else ""]
    return f"{f'{start}{name} = {write_value(value)}':<{_COMMENT_COLUMN}}  # {' '.join(filter(None, comment))}\n"


def _strip_markup(text: str) -> str:
    without_links = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(text.split()))
    return re.sub(r"`([^`]+)`", r"\1", without_links)


if __name__ == "__main__":
    GUIDE.write_text(write_guide(), "utf-8")
    SAMPLE.write_text(write_sample(SAMPLE.read_text("utf-8")), "utf-8")

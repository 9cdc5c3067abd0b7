"""The forms of the settings pages: displaying and parsing values.

The settings declare everything else about a field.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from werkzeug.datastructures import MultiDict

from digest.settings import SectionKindName, SectionSettings
from digest.settings.values import ASKED_TWICE, SHOWN_BY_HOST, FieldInputKind, RuleText, redact_url
from digest.timetable import ScheduleRule, parse_schedule_rule
from digest.web.forms import FormOrQueryModel, read_query

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EVERY_DAY = "daily"
MAX_SECTIONS = 30
SECTION_KINDS: tuple[str, ...] = get_args(SectionKindName)
Form = Mapping[str, str]  # typed values by field name
_SHAPES: Mapping[Any, FieldInputKind] = {
    Literal: FieldInputKind.CHOICE,
    list[RuleText]: FieldInputKind.RULES,
    list: FieldInputKind.NUMBERS,
    dict: FieldInputKind.AMOUNTS,
    int: FieldInputKind.NUMBER,
    float: FieldInputKind.NUMBER,
}


@dataclass(frozen=True, slots=True)
class DisplayedField:
    """A field of a settings form, with the text to show in it.

    `text` is the content, `day` and `clock` are the parts of a weekly time, and `problem` says
    what's wrong with the input.
    """

    name: str
    field: FieldInfo
    shape: FieldInputKind
    text: str
    day: str = ""
    clock: str = ""
    problem: str = ""

    @property
    def asks_again(self) -> bool:
        """True if the form has a box that confirms the change."""
        return bool(self.problem) and ASKED_TWICE in self.field.metadata


def list_fields(table: BaseModel) -> dict[str, FieldInfo]:
    """Return the fields shown on a table's page, namely those with a title."""
    return {name: field for name, field in type(table).model_fields.items() if field.title}


def find_field_input_kind(field: FieldInfo) -> FieldInputKind:
    """Return the kind of form field with which a setting is edited.

    It's determined by a mark in the annotation or else by the type. The default is text.
    """
    kind = field.annotation
    marked = (mark for mark in field.metadata if isinstance(mark, FieldInputKind))
    typed = (_SHAPES[known_type] for known_type in (kind, get_origin(kind)) if known_type in _SHAPES)
    return next(chain(marked, typed), FieldInputKind.TEXT)


def build_displayed_fields(table: BaseModel, form: Form | None, problems: Mapping[str, str]) -> list[DisplayedField]:
    """Return the fields of a table's form with their input, or with the current values if `form` is None."""
    fields = [_show_field(table, name, form or {}) for name in list_fields(table)]
    return [replace(field, problem=problems.get(field.name, "")) for field in fields]


def _show_field(table: BaseModel, name: str, form: Form) -> DisplayedField:
    field = type(table).model_fields[name]
    text, shape = format_field_value(field, getattr(table, name)), find_field_input_kind(field)
    day, clock = split_schedule_rule(text) if shape is FieldInputKind.RULE else ("", "")
    if not day:
        return DisplayedField(name, field, shape, form.get(name, text))
    day, clock = form.get(f"{name}-day", day), form.get(f"{name}-clock", clock)
    return DisplayedField(name, field, shape, text, day, clock)


def describe_saved_values(table: BaseModel, form: Mapping[str, str]) -> dict[str, str]:
    """Describe the saved value of each field whose input differs, by field name.

    This is shown if someone else has saved the table in the meantime.
    """
    typed = read_form_values(table, form)
    fields = {name: field for name, field in list_fields(table).items() if name in typed}
    saved = {field.name: field.text for field in build_displayed_fields(table, None, {}) if field.name in fields}
    return {
        name: f"Saved value: {saved[name] or '(empty)'}"
        for name, field in fields.items()
        if format_field_value(field, typed[name]) != saved[name]
    }


def _write_amounts(amounts: Mapping[str, int]) -> str:
    return "\n".join(f"{name} = {amount}" for name, amount in amounts.items())


def _read_amounts(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in _split_text(text, "\n")]
    return {name.strip(' "'): amount.strip() for name, _, amount in pairs}


def _split_text(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _write_number(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


_WRITERS: Mapping[FieldInputKind, Callable[[Any], str]] = {
    FieldInputKind.RULES: "\n".join,
    FieldInputKind.NUMBER: _write_number,
    FieldInputKind.NUMBERS: lambda numbers: ", ".join(map(_write_number, numbers)),
    FieldInputKind.AMOUNTS: _write_amounts,
}
_READERS: Mapping[FieldInputKind, Callable[[str], Any]] = {
    FieldInputKind.RULES: lambda text: _split_text(text, "\n"),
    FieldInputKind.NUMBERS: lambda text: _split_text(text, ","),
    FieldInputKind.AMOUNTS: _read_amounts,
}


def format_field_value(field: FieldInfo, value: Any) -> str:
    """Return a value as it's shown in its field.

    URLs with secret paths are reduced to the host.
    """
    if SHOWN_BY_HOST in field.metadata:
        return redact_url(value, host_only=True)
    return _WRITERS.get(find_field_input_kind(field), str)(value)


def parse_field_value(field: FieldInfo, text: str) -> Any:
    """Parse the text of a field, without validating it."""
    shape = find_field_input_kind(field)
    if shape is FieldInputKind.CHOICE:
        return next((value for value in get_args(field.annotation) if str(value) == text), text)
    return _READERS.get(shape, str)(text)


def read_form_values(table: BaseModel, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a table's form, by field name, without validating them.

    Missing fields are omitted. An unchanged shortened URL is replaced by the stored one.
    """
    values: dict[str, Any] = {}
    for name, field in list_fields(table).items():
        if f"{name}-day" in form:
            values[name] = f"{form[f'{name}-day']} {form.get(f'{name}-clock', '')}"
        elif name in form:
            text, value = form[name].replace("\r\n", "\n").strip(), getattr(table, name)
            is_as_shown = SHOWN_BY_HOST in field.metadata and text == format_field_value(field, value)
            values[name] = value if is_as_shown else parse_field_value(field, text)
    return values


def split_schedule_rule(text: str) -> tuple[str, str]:
    """Return a rule's day, such as "fri" or "daily", and its time.

    Both are empty if the rule has several days or a period.
    """
    rule: ScheduleRule = parse_schedule_rule(text)
    if rule.period or len(rule.days) not in {1, len(WEEKDAYS)}:
        return "", ""
    weekday = WEEKDAYS[min(rule.days)]
    day = weekday[:3].lower() if len(rule.days) == 1 else EVERY_DAY
    return day, f"{rule.at:%H:%M}"


class SectionRow(FormOrQueryModel):
    """The fields of one section in the form for sections.

    `topics` are separated by commas, and `out` removes the section.
    """

    key: str = ""
    title: str = ""
    kind: str = ""
    note: str = ""
    most: str = ""
    topics: str = ""
    place: str = ""
    out: bool = False

    @property
    def is_wanted(self) -> bool:
        """True if the section is kept.

        A new section with any input is, so that missing values are reported.
        """
        return bool(self.key or self.title or self.note or self.topics) and not self.out

    @property
    def order(self) -> int:
        """The typed position, or `MAX_SECTIONS` if it isn't a number."""
        return int(self.place) if re.fullmatch(r"[0-9]{1,3}", self.place) else MAX_SECTIONS

    def values(self) -> dict[str, Any]:
        """Return the section's values, without validating them."""
        topics = _split_text(self.topics, ",")
        return self.model_dump(exclude={"place", "out"}) | {"topics": topics}


NEW_SECTION = SectionRow(kind="stories", most="5")


def make_section_form_row(section: SectionSettings, place: int) -> SectionRow:
    """Return a section as it's shown in its form, at a position counted from 1."""
    written = {"most": str(section.most), "topics": ", ".join(section.topics)}
    return SectionRow(**section.model_dump() | written, place=str(place))


def read_section_row(form: Mapping[str, str], number: int, shown_row: SectionRow) -> SectionRow:
    """Return the submitted fields of one section.

    Values missing from the form are taken from `shown_row`.
    """
    typed = {name: form[key] for name in SectionRow.model_fields if (key := f"{number}.{name}") in form}
    return read_query(SectionRow, MultiDict(shown_row.model_dump() | typed))


def read_section_rows(form: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the form's sections in the chosen order, except removed ones and an empty new one."""
    rows = [read_section_row(form, number, SectionRow()) for number in range(MAX_SECTIONS)]
    wanted_rows = [row for row in rows if row.is_wanted]
    return [row.values() for row in sorted(wanted_rows, key=attrgetter("order"))]

"""Validating new values for a table of `digest.toml`.

They're checked before anything is written, and problems are reported by field.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from digest.settings.edition import SectionSettings, SourceSettings
from digest.settings.loader import SettingsError, describe_value_error
from digest.settings.model import SettingsFileContent
from digest.settings.values import SHOWN_BY_HOST, redact_url


class SettingsValueError(SettingsError):
    """Raised when new values for a table are invalid.

    `problems` maps each invalid field to a sentence.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        """Initialize the error with sentences by field.

        An empty field name stands for the table as a whole.
        """
        self.problems = dict(problems)
        super().__init__("\n".join(f"{field}: {text}" if field else text for field, text in self.problems.items()))


def update_table(settings_file: SettingsFileContent, table: str, changes: Mapping[str, Any]) -> SettingsFileContent:
    """Return the settings file with new values in one of its tables.

    Raises:
        SettingsValueError: a value is invalid.
    """
    before = getattr(settings_file, table)
    assert isinstance(before, BaseModel), "a table of the file"
    try:
        after = type(before).model_validate(before.model_dump() | dict(changes))
    except ValidationError as exc:
        raise SettingsValueError(_collect_problems(exc)) from None
    return merge_tables(settings_file, {table: after})


def replace_section_list(
    settings_file: SettingsFileContent, sections: Sequence[Mapping[str, Any]]
) -> SettingsFileContent:
    """Return the settings file with a different list of sections.

    Raises:
        SettingsValueError: a value is invalid, a section's key changed, a key is repeated, or there
            are no sections. The problems are by index and field, such as `2.title`.
    """
    if not sections:
        raise SettingsValueError({"": "An edition needs at least one section."})
    problems: dict[str, str] = {}
    read: list[SectionSettings] = []
    for place, values in enumerate(sections):
        try:
            read.append(SectionSettings.model_validate(dict(values)))
        except ValidationError as exc:
            problems |= {f"{place}.{field}": text for field, text in _collect_problems(exc).items()}
    problems = problems or _find_changed_keys(settings_file.sections, read)
    if problems:
        raise SettingsValueError(problems)
    return merge_tables(settings_file, {"sections": read})


def _find_changed_keys(before: Sequence[SectionSettings], after: Sequence[SectionSettings]) -> dict[str, str]:
    """Return a problem for each section whose key has changed.

    Subscribers who left the section out would get it again, because it would be a new section.
    """
    kept = {section.key for section in after}
    removed = {section.title: section.key for section in before if section.key not in kept}
    removed |= {
        section.kind: section.key for section in before if section.key not in kept and section.kind != "stories"
    }
    old_keys = {section.key for section in before}
    return {
        f"{place}.key": f"can't be changed from {removed.get(section.title) or removed[section.kind]!r}, because subscribers' choices name it"
        for place, section in enumerate(after)
        if section.key not in old_keys and removed.keys() & {section.title, section.kind}
    }


def update_source(settings_file: SettingsFileContent, url: str, changes: Mapping[str, Any]) -> SettingsFileContent:
    """Return the settings file with new values for one of its sources.

    Raises:
        SettingsValueError: a value is invalid.
    """
    try:
        sources = [
            SourceSettings.model_validate(source.model_dump() | dict(changes)) if source.url == url else source
            for source in settings_file.sources
        ]
    except ValidationError as exc:
        raise SettingsValueError(_collect_problems(exc)) from None
    return merge_tables(settings_file, {"sources": sources})


def build_source(values: Mapping[str, Any]) -> SourceSettings:
    """Return the settings of a new source with these values.

    Raises:
        SettingsValueError: a value is invalid.
    """
    try:
        return SourceSettings.model_validate(dict(values))
    except ValidationError as exc:
        raise SettingsValueError(_collect_problems(exc)) from None


def find_changed_values(before: BaseModel | None, after: BaseModel, names: Iterable[str]) -> dict[str, Any]:
    """Return the named values of `after` that differ from those of `before`.

    If `before` is None, return all of them.
    """
    new_values = {name: getattr(after, name) for name in names}
    return {name: value for name, value in new_values.items() if before is None or value != getattr(before, name)}


def describe_change(before: BaseModel | None, after: BaseModel, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the named values that changed, before and after the change, for the audit log.

    Secrets are redacted (see `redact_setting_values`). If the redacted values are the same, the new
    one ends in "(another)".
    """
    changed = set(find_changed_values(before, after, names))
    were = redact_setting_values(type(after), before.model_dump(mode="json", include=changed)) if before else {}
    are = redact_setting_values(type(after), after.model_dump(mode="json", include=changed))
    return {
        "before": were,
        "after": {name: f"{value} (another)" if value == were.get(name) else value for name, value in are.items()},
    }


def redact_setting_values(table: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table's values redacted for display.

    Credentials and queries are removed from URLs. Of secret URLs, only the host is kept.
    """
    return {name: _redact_setting_value(table, name, value) for name, value in values.items()}


def _redact_setting_value(table: type[BaseModel], name: str, value: Any) -> Any:
    field = table.model_fields.get(name)
    if isinstance(value, list):
        return [_redact_setting_value(table, name, each) for each in value]
    if not isinstance(value, str):
        return value
    return redact_url(value, host_only=field is not None and SHOWN_BY_HOST in field.metadata)


def fingerprint_values(values: BaseModel | Sequence[BaseModel]) -> str:
    """Return a fingerprint of a table's values, for detecting changes to them.

    Forms use it to notice that someone else has changed the values.
    """
    rows = [values] if isinstance(values, BaseModel) else values
    text = json.dumps([row.model_dump(mode="json") for row in rows], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def merge_tables(settings_file: SettingsFileContent, changed_tables: Mapping[str, Any]) -> SettingsFileContent:
    """Return the settings file with some of its tables replaced.

    The file is validated as a whole.

    Raises:
        SettingsValueError: the tables don't fit together, for example because a key or a URL is
            repeated.
    """
    try:
        return SettingsFileContent.model_validate(dict(settings_file) | dict(changed_tables))
    except ValidationError as exc:
        problems = [describe_value_error(dict(error)) for error in exc.errors(include_url=False)]
        raise SettingsValueError({"": "; ".join(problems)}) from None


def _collect_problems(error: ValidationError) -> dict[str, str]:
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        field, *steps = problem["loc"] or ("",)
        # In a table of names, the key is the name, such as `gmail` in `gmail = 5`.
        field_steps = (step for step in steps if step != "[key]")
        within = "".join(f"{step + 1}: " if isinstance(step, int) else f"{step}: " for step in field_steps)
        text = within + describe_value_error(dict(problem))
        problems[str(field)] = f"{problems[str(field)]}; {text}" if str(field) in problems else text
    return problems

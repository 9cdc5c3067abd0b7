"""Environment variables that override settings in `digest.toml`.

A variable's name is the prefix and the setting's key in capitals, with two underscores for each dot:
the one for `limits.proxies` ends in LIMITS__PROXIES. The value of a text setting is plain text. Other values are TOML (`5`, `true`, `["mon 06:00"]`). Lists of tables are set
as a whole.
"""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from digest.settings.model import Settings, SettingsFileContent

PREFIX = "DIGEST_"
SEPARATOR = "__"
SettingPath = tuple[str, ...]  # such as ("limits", "proxies")


def build_variable_name(path: SettingPath) -> str:
    """Return the name of the variable that overrides the setting at a path."""
    return f"{PREFIX}{SEPARATOR.join(path).upper()}"


@cache
def list_override_variables() -> Mapping[str, tuple[SettingPath, FieldInfo]]:
    """Return the path and field of the setting that each variable overrides, by variable name."""
    return MappingProxyType(
        {build_variable_name(path): (path, field) for path, field in _list_keys(SettingsFileContent)}
    )


def _list_keys(table: type[BaseModel], above: SettingPath = ()) -> Iterator[tuple[SettingPath, FieldInfo]]:
    for name, field in table.model_fields.items():
        model = find_model(field.annotation)
        if model and get_origin(field.annotation) is not list:
            yield from _list_keys(model, (*above, name))
        else:
            yield (*above, name), field


def find_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as `Model`, `list[Model]`, or `Model | None`.

    If there's none, return None.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := find_model(part))), None)


def apply_overrides(values: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values in a settings file after variables have overridden them.

    `texts` maps the names of variables to their values.
    """
    merged = dict(values)
    for variable, text in texts.items():
        (*above, name), field = list_override_variables()[variable]
        table = merged
        for step in above:
            below = table.get(step)
            table[step] = table = dict(below) if isinstance(below, Mapping) else {}
        table[name] = _read_value(field, text)
    return merged


def _read_value(field: FieldInfo, text: str) -> Any:
    if _takes_text(field.annotation):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # its field reports what's wrong with it


def _takes_text(annotation: Any) -> bool:
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return all(isinstance(part, str) for part in parts)
    return annotation is str or (get_origin(annotation) not in {list, dict} and str in parts)


def find_overriding_variable(settings: Settings, path: SettingPath) -> str:
    """Return the name of the variable that overrides a setting now, or an empty string if none does."""
    variable = build_variable_name(path)
    return variable if variable in settings.environment_overrides else ""


def find_overridden_changes(
    settings: Settings, before: SettingsFileContent, after: SettingsFileContent
) -> Iterator[str]:
    """Yield the names of variables that override settings in which two settings files differ."""
    for variable in settings.environment_overrides:
        path, _ = list_override_variables()[variable]
        if _get_value(before, path) != _get_value(after, path):
            yield variable


def _get_value(table: Any, path: SettingPath) -> Any:
    for step in path:
        table = getattr(table, step, None)
    return table

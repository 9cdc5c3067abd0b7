"""Loading `digest.toml` and the environment, which takes precedence.

All problems are reported together.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from digest.folder_owner import advise_access, find_user_name
from digest.settings.environment_file import (
    ENVIRONMENT_FILE_NAME,
    EnvironmentFileError,
    ExposedEnvironmentFileError,
    read_environment_file,
)
from digest.settings.environment_overrides import PREFIX, apply_overrides, list_override_variables
from digest.settings.misspelled_names import phrase_key_suggestion, phrase_name_suggestion
from digest.settings.model import SETTINGS_FILE_NAME, Settings
from digest.settings.setting_lines import (
    KeyPath,
    find_key_line,
    find_repeated_key,
    find_variable_line,
    read_text_or_empty,
)
from subscribers.english_text import count_with_noun
from subscribers.errors import ApplicationError

MAX_LINE_LENGTH = 10_000  # characters


class SettingsError(ApplicationError):
    """Raised when the settings can't be used.

    The message lists all problems, one per line.
    """


class ExposedSettingsError(SettingsError):
    """Raised when other users can read `digest.env`."""


# The fields of `Settings` by the variables that set them. `file` and `origin` come from the
# settings file, and `logo` and `header` from the database.
_OTHER_FIELDS = {"file", "origin", "logo", "header", "environment_overrides"}
ENVIRONMENT_FIELDS = {f"{PREFIX}{field.upper()}": field for field in Settings.model_fields.keys() - _OTHER_FIELDS}
SECRET_FIELDS = [
    name
    for name, field in Settings.model_fields.items()
    if name == "database_url" or SecretStr in (field.annotation, *get_args(field.annotation))
]
_CREDENTIALS = {f"digest.{name.replace('_', '-')}": name for name in SECRET_FIELDS}


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    may_be_missing: bool = False,
    may_be_exposed: bool = False,
) -> Settings:
    """Read `digest.toml`, the `digest.env` next to it, and the environment, which overrides both.

    Args:
        path: the file; by default, the one in `DIGEST_SETTINGS`, or else `./digest.toml` if it
            exists.
        environ: the environment to read, for tests.
        may_be_missing: allow the file to be missing even if its path is given.
        may_be_exposed: read `digest.env` even if other users can read it, which the doctor reports.

    Raises:
        ExposedSettingsError: other users can read `digest.env`.
        SettingsError: the file is missing or can't be read, or keys are unknown or have invalid
            values. The message lists all problems.
    """
    settings_file = path or (Path(environ["DIGEST_SETTINGS"]) if environ.get("DIGEST_SETTINGS") else None)
    file = settings_file or Path(SETTINGS_FILE_NAME)
    try:
        is_missing = not file.exists()
    except PermissionError as exc:
        folder = file.absolute().parent
        raise SettingsError(f"Can't enter {folder}: {exc.strerror}.", remedy=advise_access(folder)) from exc
    if settings_file and not may_be_missing and is_missing:
        raise SettingsError(
            f"There's no settings file {file}.", remedy="Create the file with 'digest init', or leave out the option."
        )
    environment_file = file.parent / ENVIRONMENT_FILE_NAME
    variables = _add_environment_file(environment_file, environ, may_be_exposed=may_be_exposed)
    values = _read_file_values(file)
    values |= _read_credentials(variables)
    values |= {field: variables[key] for key, field in ENVIRONMENT_FIELDS.items() if variables.get(key)}
    known_names = list_override_variables().keys()
    values["environment_overrides"] = {name: text for name, text in variables.items() if text and name in known_names}
    problems = [_describe_unknown_variable(name, environment_file, environ) for name in _list_unknown(variables)]
    return _validate_settings(values, file, problems)


def _read_file_values(file: Path) -> dict[str, Any]:
    return {"file": _read_toml(file), "origin": file} if file.exists() else {}


def _list_unknown(variables: Iterable[str]) -> list[str]:
    known_variables = ENVIRONMENT_FIELDS.keys() | list_override_variables().keys() | _OTHER_VARIABLES
    return sorted(name for name in variables if name.startswith(PREFIX) and name not in known_variables)


def _describe_unknown_variable(name: str, file: Path, process_environ: Mapping[str, str]) -> str:
    names = (*ENVIRONMENT_FIELDS, *list_override_variables(), *_OPERATORS_VARIABLES)
    suggested = phrase_name_suggestion(name, names, prefix=PREFIX)
    number = None if process_environ.get(name) else find_variable_line(read_text_or_empty(file), name)
    place = f"line {number} of {file.absolute()}" if number else "in this process's environment"
    return f"{name} isn't a setting{suggested} ({place})"


def _add_environment_file(file: Path, environ: Mapping[str, str], *, may_be_exposed: bool) -> Mapping[str, str]:
    """Return the variables in the environment, and those in a file that the environment doesn't set."""
    try:
        variables = read_environment_file(file, may_be_exposed=may_be_exposed)
        return variables | {name: value for name, value in environ.items() if value}
    except ExposedEnvironmentFileError as exc:
        raise ExposedSettingsError(exc.message, remedy=exc.remedy) from exc
    except EnvironmentFileError as exc:
        raise SettingsError(exc.message, remedy=exc.remedy) from exc


def _read_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets in files, such as the credentials that systemd passes (systemd.exec(5), LoadCredential=)."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    files = {field: Path(folder) / name for name, field in _CREDENTIALS.items()} if folder else {}
    files = {field: file for field, file in files.items() if file.exists()}
    if passphrase_file := environ.get("DIGEST_BACKUP_PASSPHRASE_FILE"):
        files["backup_passphrase"] = Path(passphrase_file)
    return {field: _read_secret(file) for field, file in files.items()}


def _read_secret(file: Path) -> str:
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        remedy = "Correct DIGEST_BACKUP_PASSPHRASE_FILE or the unit's credentials."
        raise SettingsError(
            f"Can't read {file}, which contains a secret: {reason}.",
            remedy=advise_access(file) if isinstance(exc, PermissionError) else remedy,
        ) from exc


def reload_settings(settings: Settings) -> Settings:
    """Reload the settings file and return the new settings.

    Values from the environment are kept.

    Raises:
        SettingsError: the file can't be read, or keys are unknown or have invalid values. The
            message lists all problems.
    """
    file = settings.origin or Path(SETTINGS_FILE_NAME)
    return _validate_settings(dict(settings) | {"file": _read_toml(file)}, file, [])


def parse_settings_text(settings: Settings, text: str) -> Settings:
    """Return the settings that result if their file contains `text`.

    Values from the environment are kept.

    Raises:
        SettingsError: the text isn't valid TOML, or keys are unknown or have invalid values. The
            message lists all problems.
    """
    file = settings.origin or Path(SETTINGS_FILE_NAME)
    return _validate_settings(dict(settings) | {"file": _parse_toml(text, file)}, file, [], text)


def _validate_settings(values: dict[str, Any], file: Path, problems: list[str], text: str | None = None) -> Settings:
    """Return the settings that result from values.

    `text` is the content of the file. If it's None, the file is read to find the lines of problems.
    """
    environment_overrides = values.get("environment_overrides", {})
    if environment_overrides:
        values = values | {"file": apply_overrides(values.get("file", {}), environment_overrides)}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as exc:
        text = read_text_or_empty(file) if text is None else text
        errors = exc.errors(include_url=False, include_input=False)
        for error in map(dict, errors):
            problem = _describe_variable_problem(error, environment_overrides)
            problems.append(problem or _describe_problem(error, file, text))
        raise SettingsError(_problem_report(file, problems)) from None  # a chained exception would print secrets
    if problems:
        raise SettingsError(_problem_report(file, problems))
    return settings


# Variables that are read elsewhere.
_OPERATORS_VARIABLES = ("DIGEST_SETTINGS", "DIGEST_BACKUP_PASSPHRASE_FILE")
_TEST_VARIABLES = ("DIGEST_TEST_REQUIRE", "DIGEST_TEST_DATABASE", "DIGEST_TEST_SEED")
_OTHER_VARIABLES = frozenset({*_OPERATORS_VARIABLES, *_TEST_VARIABLES})


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return _parse_toml(file.read_text("utf-8"), file)
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise SettingsError(
            f"{file.absolute()} isn't valid TOML because line {line} isn't UTF-8.", remedy="Save the file as UTF-8."
        ) from exc
    except OSError as exc:
        place = file.absolute()
        owned = f"Run as root: chown {find_user_name(os.geteuid())} {place} && chmod 644 {place}"
        remedy = owned if isinstance(exc, PermissionError) else ""
        raise SettingsError(f"Can't read {place}: {exc.strerror}.", remedy=remedy) from exc


def _parse_toml(text: str, file: Path) -> dict[str, Any]:
    # tomllib takes quadratic time for a key with very many parts, which is always on one line, and
    # is recursive for brackets.
    lengths = enumerate(map(len, text.splitlines()), 1)
    too_long = ((number, length) for number, length in lengths if length > MAX_LINE_LENGTH)
    for number, length in too_long:
        raise SettingsError(
            f"Line {number} of {file} has {length:,} characters, more than the limit of {MAX_LINE_LENGTH:,}.",
            remedy="Split the line into several.",
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _make_toml_error(file, text, str(exc)) from exc
    except RecursionError:
        raise SettingsError(
            f"{file} isn't valid TOML because its brackets are nested too deeply.", remedy="Remove some brackets."
        ) from None


def _make_toml_error(file: Path, text: str, message: str) -> SettingsError:
    """Return the error for text that isn't valid TOML.

    If a name is repeated, the message has the name and both lines.
    """
    if text.startswith("\ufeff"):
        return SettingsError(
            f"{file.absolute()} isn't valid TOML because it begins with a byte order mark.",
            remedy="Save the file as UTF-8 without a byte order mark (BOM).",
        )
    place = re.search(r"\(at line (\d+)", message)
    second = int(place[1]) if place and message.startswith("Cannot ") else 0
    if repeated := find_repeated_key(text, second):
        name, first = repeated
        remedy = "Merge the two tables into one." if name.startswith("[") else "Remove one of the two lines."
        return SettingsError(f"{file.absolute()} contains {name} twice, on lines {first} and {second}.", remedy=remedy)
    words, _, at = message.partition(" (at ")
    position = at.rstrip(")") or "end of document"
    return SettingsError(
        f"{file.absolute()} isn't valid TOML, at {position}: {words}.", remedy="Correct the file at this position."
    )


def _describe_variable_problem(error: Mapping[str, Any], environment_overrides: Iterable[str]) -> str:
    """Return a description of a problem with a key that the environment sets.

    For any other problem, return an empty string.
    """
    _, *path = error["loc"] or ("",)
    for variable in environment_overrides:
        key, _ = list_override_variables()[variable]
        if tuple(path[: len(key)]) == key:
            steps = _join_steps(path[len(key) :])
            return ": ".join(filter(None, (variable, steps, describe_value_error(error))))
    return ""


def _describe_problem(error: dict[str, Any], file: Path, text: str) -> str:
    table, *path = error["loc"] or ("",)
    described = describe_value_error(error)
    if table != "file":
        variables = {field: name for name, field in ENVIRONMENT_FIELDS.items()}
        place = _join_steps([variables.get(table, table), *path])
        return f"{place}: {described}" if place else described
    number = find_key_line(text, path) if path else None
    place = f" (line {number} of {file.absolute()})" if number else ""
    suggested = phrase_key_suggestion(path) if path and error["type"] == "extra_forbidden" else ""
    key, problem = _join_steps(path), f"{described}{suggested}{place}"
    return f"{key}: {problem}" if key else problem


def _join_steps(path: KeyPath) -> str:
    """Return a path in the notation of settings, such as `sections[2].title`."""
    return "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


# The wording of problems by pydantic's error types, with the values that pydantic provides. Its own
# messages are for programmers.
_ERROR_WORDS = {
    "extra_forbidden": "not a setting",
    "missing": "required",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "date_from_datetime_parsing": "must be a date, such as 2026-06-16",
    "date_from_datetime_inexact": "must be a date, such as 2026-06-16",
    "date_parsing": "must be a date, such as 2026-06-16",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotation marks",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be {le:g} or less",
}


def describe_value_error(error: Mapping[str, Any]) -> str:
    """Return a description of a pydantic error for operators. It doesn't contain the name of the key."""
    if error["type"] == "literal_error":
        choices = error["ctx"]["expected"]  # pydantic writes "'a', 'b' or 'c'"
        return f"must be {choices.replace(' or ', ', or ') if ', ' in choices else choices}"
    if words := _ERROR_WORDS.get(error["type"]):
        return words.format(**error.get("ctx", {}))
    return str(error["msg"]).removeprefix("Value error, ")


def _problem_report(file: Path, problems: list[str]) -> str:
    lines = "\n".join(f"  {p}" for p in problems)
    count = count_with_noun(len(problems), "problem")
    return f"{count} in the settings ({file} and the environment):\n{lines}"

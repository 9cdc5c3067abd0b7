"""Reading `digest.toml` and the environment, which wins. Every problem is reported at once, by its key."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from digest.settings.environment_file import ENVIRONMENT_FILE_NAME, EnvironmentFileError, read_environment_file
from digest.settings.misspelt_names import suggest_key, suggest_name
from digest.settings.model import SETTINGS_FILE_NAME, Settings
from digest.settings.setting_lines import find_key_line, find_repeated_key, find_variable_line, read_lines
from subscribers.errors import ApplicationError

MAX_LINE_LENGTH = 10_000  # characters


class SettingsError(ApplicationError):
    """The settings cannot be used; the message lists every problem, one a line."""


# A field of `Settings` by the variable that sets it; `file` and `origin` are the settings file's, `logo` is the database's.
_OTHER_FIELDS = {"file", "origin", "logo"}
ENVIRONMENT_PREFIX = "DIGEST_"
ENVIRONMENT_FIELDS = {
    f"{ENVIRONMENT_PREFIX}{field.upper()}": field for field in Settings.model_fields.keys() - _OTHER_FIELDS
}
_SECRET_FIELDS = [
    name
    for name, field in Settings.model_fields.items()
    if name == "database_url" or SecretStr in (field.annotation, *get_args(field.annotation))
]
_CREDENTIALS = {f"digest.{name.replace('_', '-')}": name for name in _SECRET_FIELDS}


def load_settings(
    path: Path | None = None, environ: Mapping[str, str] = os.environ, *, may_be_missing: bool = False
) -> Settings:
    """Read `digest.toml`, `digest.env` beside it, and the environment, which wins over both.

    Args:
        path: the file; None looks for `DIGEST_SETTINGS`, then `./digest.toml`, and does without when absent.
        environ: the environment to read, for tests.
        may_be_missing: whether a file that is named need not be there yet.

    Raises:
        SettingsError: a key is unknown or has a wrong value; all problems are in the one message.
    """
    required_file = path or (Path(environ["DIGEST_SETTINGS"]) if environ.get("DIGEST_SETTINGS") else None)
    file = required_file or Path(SETTINGS_FILE_NAME)
    values: dict[str, Any] = {}
    if file.exists():
        values = {"file": _read_toml(file), "origin": file}
    elif required_file and not may_be_missing:
        raise SettingsError(
            f"{file}: no such settings file.", remedy="Write one with 'digest init' or leave the option out."
        )
    environment_file = file.parent / ENVIRONMENT_FILE_NAME
    process_environ, environ = environ, _add_environment_file(environment_file, environ)
    unknown = sorted(
        k
        for k in environ
        if k.startswith(ENVIRONMENT_PREFIX) and k not in ENVIRONMENT_FIELDS and k not in _OTHER_VARIABLES
    )
    values |= _read_credentials(environ)
    if passphrase_file := environ.get("DIGEST_BACKUP_PASSPHRASE_FILE"):
        values["backup_passphrase"] = _read_secret(Path(passphrase_file))
    values |= {field: environ[key] for key, field in ENVIRONMENT_FIELDS.items() if environ.get(key)}
    problems = [_describe_unknown_variable(key, environment_file, process_environ) for key in unknown]
    return _validate_settings(values, file, problems)


def _describe_unknown_variable(name: str, file: Path, process_environ: Mapping[str, str]) -> str:
    suggested = suggest_name(name, (*ENVIRONMENT_FIELDS, *_OPERATORS_VARIABLES), prefix=ENVIRONMENT_PREFIX)
    number = None if process_environ.get(name) else find_variable_line(read_lines(file), name)
    place = f"line {number} of {file.absolute()}" if number else "in the environment of this process"
    return f"{name}: no such setting{suggested} ({place})"


def _add_environment_file(file: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with the variables of a file that it does not set."""
    try:
        return read_environment_file(file) | {name: value for name, value in environ.items() if value}
    except EnvironmentFileError as exc:
        raise SettingsError(exc.message, remedy=exc.remedy) from exc


def _read_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Read the secrets that systemd hands to a service as files (systemd.exec(5), LoadCredential=)."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    files = {Path(folder) / name: field for name, field in _CREDENTIALS.items()} if folder else {}
    return {field: _read_secret(file) for file, field in files.items() if file.exists()}


def _read_secret(file: Path) -> str:
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{file}: the secret in it cannot be read: {exc}") from exc


def reload_settings(settings: Settings) -> Settings:
    """Read the file that settings came from again; what came from the environment stays.

    Raises:
        SettingsError: it cannot be read, or a key is unknown or has a wrong value; all problems are in the message.
    """
    file = settings.origin or Path(SETTINGS_FILE_NAME)
    return _validate_settings(dict(settings) | {"file": _read_toml(file)}, file, [])


def parse_settings_text(settings: Settings, text: str) -> Settings:
    """Return the settings as they would be if their file held `text`; what came from the environment stays.

    Raises:
        SettingsError: it is no TOML, or a key is unknown or has a wrong value; all problems are in the message.
    """
    file = settings.origin or Path(SETTINGS_FILE_NAME)
    return _validate_settings(dict(settings) | {"file": _parse_toml(text, file)}, file, [], text)


def _validate_settings(values: dict[str, Any], file: Path, problems: list[str], text: str | None = None) -> Settings:
    """Make the settings of their values; `text` is what the file holds, None reads it where a problem is to be placed."""
    try:
        settings = Settings.model_validate(values)
    except ValidationError as exc:
        text = read_lines(file) if text is None else text
        problems += [_describe_problem(dict(e), file, text) for e in exc.errors(include_url=False, include_input=False)]
        raise SettingsError(_problem_report(file, problems)) from None  # the cause would print secrets
    if problems:
        raise SettingsError(_problem_report(file, problems))
    return settings


# Read elsewhere than in Settings.
_OPERATORS_VARIABLES = ("DIGEST_SETTINGS", "DIGEST_BACKUP_PASSPHRASE_FILE")
_TEST_VARIABLES = ("DIGEST_TEST_REQUIRE", "DIGEST_TEST_DATABASE", "DIGEST_TEST_SEED")
_OTHER_VARIABLES = frozenset({*_OPERATORS_VARIABLES, *_TEST_VARIABLES})


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return _parse_toml(file.read_text("utf-8"), file)
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise SettingsError(
            f"{file.absolute()}: not readable as TOML, at line {line}: it is not UTF-8.",
            remedy="Save the file as UTF-8.",
        ) from exc
    except OSError as exc:
        raise SettingsError(f"{file}: can't be read: {exc.strerror}") from exc


def _parse_toml(text: str, file: Path) -> dict[str, Any]:
    # tomllib takes quadratic time for a key of very many parts, which stands on one line, and recurses into brackets.
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_LINE_LENGTH:
            raise SettingsError(
                f"{file}: line {number} has {len(line):,} characters, and may have {MAX_LINE_LENGTH:,}.",
                remedy="Break it up.",
            )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _explain_toml_error(file, text, str(exc)) from exc
    except RecursionError:
        raise SettingsError(
            f"{file}: not readable as TOML: too many brackets within each other.", remedy="Take brackets out."
        ) from None


def _explain_toml_error(file: Path, text: str, said: str) -> SettingsError:
    """Say what keeps a text from being read; of what stands twice the name and both lines, in place of the parser's words."""
    place = re.search(r"\(at line (\d+)", said)
    second = int(place[1]) if place and said.startswith("Cannot ") else 0
    if repeated := find_repeated_key(text, second):
        name, first = repeated
        remedy = "Put what stands under both into one." if name.startswith("[") else "Take one of the two lines out."
        return SettingsError(f"{file.absolute()}: {name} stands twice, on lines {first} and {second}.", remedy=remedy)
    words, _, at = said.partition(" (at ")
    where = at.rstrip(")") or "end of document"
    return SettingsError(f"{file.absolute()}: not readable as TOML, at {where}: {words}.", remedy="Mend it there.")


def _describe_problem(error: dict[str, Any], file: Path, text: str) -> str:
    steps = list(error["loc"])
    path = steps[1:] if steps and steps[0] == "file" else []
    number = find_key_line(text, path) if path else None
    place = f" (line {number} of {file.absolute()})" if number else ""
    suggested = suggest_key(path) if path and error["type"] == "extra_forbidden" else ""
    names = {field: key for key, field in ENVIRONMENT_FIELDS.items()}
    if steps and steps[0] in names:
        steps[0] = names[str(steps[0])]
    elif steps and steps[0] == "file":
        steps.pop(0)
    key = "".join(f"[{s + 1}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")
    described = f"{describe_value_error(error)}{suggested}{place}"
    return f"{key}: {described}" if key else described


# What is wrong with a value, by pydantic's kinds of error, with the facts that it gives: its own words are for programmers.
_ERROR_WORDS = {
    "extra_forbidden": "no such setting",
    "missing": "it is missing",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "finite_number": "write a number",
    "date_from_datetime_parsing": "write a day such as 2026-06-16",
    "date_from_datetime_inexact": "write a day such as 2026-06-16",
    "date_parsing": "write a day such as 2026-06-16",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write a text, in quotation marks",
    "string_too_long": "write at most {max_length} characters",
    "greater_than": "it must be more than {gt:g}",
    "greater_than_equal": "it must be {ge:g} or more",
    "less_than": "it must be less than {lt:g}",
    "less_than_equal": "it must be {le:g} at most",
    "literal_error": "write {expected}",
}


def describe_value_error(error: Mapping[str, Any]) -> str:
    """Return what one of pydantic's errors says is wrong with a value, without the name of its key."""
    words = _ERROR_WORDS.get(error["type"])
    return str(error["msg"]).removeprefix("Value error, ") if words is None else words.format(**error.get("ctx", {}))


def _problem_report(file: Path, problems: list[str]) -> str:
    lines = "\n".join(f"  {p}" for p in problems)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{count} in the settings ({file} and the environment):\n{lines}"

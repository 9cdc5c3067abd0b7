"""The file `digest.env`, with environment variables for all commands and services of an installation.

It's next to `digest.toml`. Each line is `NAME=value`, quoted as in a shell, but nothing is
expanded. Lines that begin with # are comments.
"""

import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from digest.folder_owner import advise_access
from subscribers.errors import ApplicationError

ENVIRONMENT_FILE_NAME = "digest.env"
_NAME_PATTERN = re.compile(r"[A-Z][A-Z0-9_]*")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+=,?&-]*")


class EnvironmentFileError(ApplicationError):
    """Raised when an environment file can't be parsed or read.

    The message has the number of the line, but never a value.
    """


class ExposedEnvironmentFileError(EnvironmentFileError):
    """Raised when other users can read the file."""


def find_exposure(file: Path) -> ExposedEnvironmentFileError | None:
    """Return an error if other users can access a file, or None if they can't."""
    if not stat.S_IMODE(file.stat().st_mode) & 0o077:
        return None
    return ExposedEnvironmentFileError(
        f"Other users can read {file}, which contains secrets.", remedy=f"Run: chmod 600 {file}"
    )


def read_environment_file(file: Path, *, may_be_exposed: bool = False) -> dict[str, str]:
    """Return the variables in a file, or an empty dictionary if the file doesn't exist.

    Raises:
        ExposedEnvironmentFileError: other users can read the file, and `may_be_exposed` is false.
        EnvironmentFileError: the file can't be read, or a line isn't `NAME=value`.
    """
    try:
        with file.open("rb") as opened:
            if not may_be_exposed and (exposure := find_exposure(file)):
                raise exposure
            return parse_variables(opened.read().decode("utf-8-sig"), str(file))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as exc:
        raise EnvironmentFileError(f"{file} isn't UTF-8.", remedy="Save the file as UTF-8.") from exc
    except OSError as exc:
        remedy = advise_access(file) if isinstance(exc, PermissionError) else ""
        raise EnvironmentFileError(f"Can't read {file}: {exc.strerror}.", remedy=remedy) from exc


def parse_variables(text: str, name: str = ENVIRONMENT_FILE_NAME) -> dict[str, str]:
    """Return the variables that a text sets.

    Later lines override earlier ones.

    Raises:
        EnvironmentFileError: a line isn't `NAME=value`.
    """
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            words = shlex.split(line)
        except ValueError:
            words = []
        variable, equals, value = words[0].partition("=") if len(words) == 1 else ("", "", "")
        if not equals or not _NAME_PATTERN.fullmatch(variable):
            raise EnvironmentFileError(
                f"Line {number} of {name} isn't valid. Use the form NAME=value, with quotes around a value that "
                "contains spaces."
            )
        variables[variable] = value
    return variables


def change_variables(text: str, values: Mapping[str, str]) -> str:
    """Return a text with new values for some of its variables.

    If a value is empty, the variable's line is removed. All other lines are kept.
    """
    missing = {name: value for name, value in values.items() if value}
    lines = []
    for line in text.splitlines():
        name = line.partition("=")[0].strip()
        if name not in values:
            lines.append(line)
        elif name in missing:
            value = missing.pop(name)
            is_same = parse_variables(line).get(name) == value
            lines.append(line if is_same else f"{name}={_quote_value(value)}")
    lines += [f"{name}={_quote_value(value)}" for name, value in missing.items()]
    return "".join(f"{line}\n" for line in lines)


def _quote_value(value: str) -> str:
    """Return a value quoted so that shells, systemd, and Compose all read it the same way.

    The value must not contain quotes or line breaks.
    """
    return value if _PLAIN_VALUE.fullmatch(value) else f"'{value}'"

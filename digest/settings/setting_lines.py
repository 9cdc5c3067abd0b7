"""The lines of `digest.toml` and `digest.env` that contain a setting, and instructions for changing them."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from digest.settings.environment_overrides import find_overriding_variable
from digest.settings.model import Settings

_HEADER = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<name>[\w.\"'-]+)\s*\]")
_KEY = re.compile(r"\s*(?P<name>[\w\"'-]+)\s*=")

KeyPath = Sequence[str | int]  # such as ("sources", 0, "publisher"), as in pydantic's errors


@dataclass(frozen=True, slots=True)
class _TomlLine:
    """A line with a key or the header of a table.

    `place` is the index of its table among the tables that have the same name.
    """

    number: int
    table: str
    place: int
    key: str = ""  # empty in a header
    is_repeatable: bool = False  # True for a header with two brackets

    @property
    def path(self) -> tuple[str, int, str]:
        """The name of the table, its index among tables that have the same name, and the key."""
        return self.table, self.place, self.key

    @property
    def name(self) -> str:
        """The full name of the key or table. It can't be repeated."""
        return self.key or f"[{self.table}]"


def _list_toml_lines(text: str) -> Iterator[_TomlLine]:
    table, place, counts = "", 0, Counter[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table, is_repeatable = _unquote(header["name"]), header["open"] == "[["
            place = counts[table] if is_repeatable else 0
            counts[table] = place + 1
            yield _TomlLine(number, table, place, is_repeatable=is_repeatable)
        elif key := _KEY.match(line):
            yield _TomlLine(number, table, place, _unquote(key["name"]))


def find_key_line(text: str, path: KeyPath) -> int | None:
    """Return the number of the line with a key or the header of a table in a TOML text.

    The first line is 1. If the key or table has no line of its own, return None.
    """
    *above, name = path
    table = ".".join(step for step in above if isinstance(step, str))
    place = next((step for step in above if isinstance(step, int)), 0)
    key_paths = {(table, place, str(name))}
    if not above:
        key_paths.add((str(name), 0, ""))  # the header of the table
    line_numbers = (line.number for line in _list_toml_lines(text) if line.path in key_paths)
    return next(line_numbers, None)


def find_repeated_key(text: str, number: int) -> tuple[str, int] | None:
    """Return the key or table that a line repeats, and the number of the line where it first occurs.

    If the line doesn't repeat anything, return None.
    """
    lines_by_name = dict[str, int]()
    for line in _list_toml_lines(text):
        if not line.key:
            lines_by_name = {name: at for name, at in lines_by_name.items() if name.startswith("[")}
            if line.is_repeatable:
                continue
        if line.number == number and line.name in lines_by_name:
            return line.name, lines_by_name[line.name]
        lines_by_name.setdefault(line.name, line.number)
    return None


def find_variable_line(text: str, name: str) -> int | None:
    """Return the number of the line that sets a variable in an environment file.

    The first line is 1. If the variable isn't set, return None.
    """
    lines = enumerate(text.splitlines(), 1)
    return next((number for number, line in lines if line.partition("=")[0].strip() == name), None)


def advise_key_change(settings: Settings, table: str, *lines: str) -> str:
    """Return instructions for entering lines such as `proxies = 1` in a table of `digest.toml`.

    They name the line to change, the place to add a line, or the environment variables that
    override the settings. For example: "In FILE, change line 7 to: proxies = 1".
    """
    names = [line.partition("=")[0].strip() for line in lines]
    variables = [find_overriding_variable(settings, (table, name)) for name in names]
    if locked := [variable for variable in variables if variable]:
        return f"Change {' and '.join(locked)} in the environment, and restart"
    file = settings.settings_place
    text = read_text_or_empty(file)
    numbers = {line: find_key_line(text, (table, line.partition("=")[0].strip())) for line in lines}
    written = [_advise_line_change(file, text, number, line) for line, number in numbers.items() if number]
    if new := " and ".join(line for line, number in numbers.items() if not number):
        has_table = find_key_line(text, (table,)) is not None
        place = f"Under [{table}] in {file}, add" if has_table else f"At the end of {file}, add [{table}] and below it"
        written.append(f"{place}: {new}")
    return ". ".join(written)


def _advise_line_change(file: Path, text: str, number: int, line: str) -> str:
    if _is_whole(text.splitlines()[number - 1]):
        return f"In {file}, change line {number} to: {line}"
    return (
        f"In {file}, replace the setting that starts on line {number}, including all lines of its value, with: {line}"
    )


def advise_variable_change(settings: Settings, line: str) -> str:
    """Return instructions for entering a line such as `DIGEST_HOME=/srv/digest` in `digest.env`."""
    file, name = settings.environment_place, line.partition("=")[0]
    if number := find_variable_line(read_text_or_empty(file), name):
        return f"In {file}, change the line {name}=… (line {number}) to: {line}"
    return f"In {file}, add: {line}"


def read_text_or_empty(file: Path) -> str:
    """Return the text in a file, or an empty string if the file can't be read."""
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _is_whole(line: str) -> bool:
    """Return True if a line of TOML contains the whole value of its key."""
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _unquote(name: str) -> str:
    return name.replace('"', "").replace("'", "")

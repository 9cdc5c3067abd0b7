"""On which lines of `digest.toml` and `digest.env` settings stand, and how to say which line to change."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from digest.settings.model import Settings

_HEADER = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<name>[\w.\"'-]+)\s*\]")
_KEY = re.compile(r"\s*(?P<name>[\w\"'-]+)\s*=")

KeyPath = Sequence[str | int]  # such as ("sources", 0, "publisher"), as pydantic names a place


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


def find_repeated_key(text: str, line: int) -> tuple[str, int] | None:
    """Find which key or table of `line` stood before, and on which line first; None where none did."""
    seen = dict[str, int]()
    for number, written in enumerate(text.splitlines()[:line], 1):
        header, key = _HEADER.match(written), _KEY.match(written)
        if header and header["open"] == "[[":
            seen = {}
            continue
        if header:
            seen = {name: at for name, at in seen.items() if name.startswith("[")}
        name = f"[{_unquote(header['name'])}]" if header else _unquote(key["name"]) if key else ""
        if number == line and name in seen:
            return name, seen[name]
        if name:
            seen.setdefault(name, number)
    return None


def find_variable_line(text: str, name: str) -> int | None:
    """Find on which line of an environment file a variable is set, counted from 1; None where it is not."""
    lines = enumerate(text.splitlines(), 1)
    return next((number for number, line in lines if line.partition("=")[0].strip() == name), None)


def advise_key_change(settings: Settings, table: str, *lines: str) -> str:
    """Say where in `digest.toml` lines such as `proxies = 1` belong under a table: in place of which line, or anew.

    It is what a sentence goes on with: "in FILE change line 7 to: proxies = 1".
    """
    file = settings.settings_place
    text = read_lines(file)
    numbers = {line: find_key_line(text, (table, line.partition("=")[0].strip())) for line in lines}
    written = [_advise_line_change(file, text, number, line) for line, number in numbers.items() if number]
    if new := " and ".join(line for line, number in numbers.items() if not number):
        has_table = find_key_line(text, (table,)) is not None
        place = f"add under [{table}] in {file}" if has_table else f"add to the end of {file} [{table}] and below it"
        written.append(f"{place}: {new}")
    return "; ".join(written)


def _advise_line_change(file: Path, text: str, number: int, line: str) -> str:
    if _is_whole(text.splitlines()[number - 1]):
        return f"in {file} change line {number} to: {line}"
    return f"in {file} replace the key that begins on line {number}, with the lines of its value, by: {line}"


def advise_variable_change(settings: Settings, line: str) -> str:
    """Say where in `digest.env` a line such as `DIGEST_HOME=/srv/digest` belongs, as `advise_key_change` does."""
    file, name = settings.environment_place, line.partition("=")[0]
    if number := find_variable_line(read_lines(file), name):
        return f"in {file} change the line {name}=… (line {number}) to: {line}"
    return f"add to {file}: {line}"


def read_lines(file: Path) -> str:
    """Return the text of a file; an empty one where it cannot be read."""
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _is_whole(line: str) -> bool:
    """Say whether a line of TOML holds the whole of its value."""
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _unquote(name: str) -> str:
    return name.replace('"', "").replace("'", "")

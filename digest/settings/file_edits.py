"""Changing `digest.toml` without touching what the operator wrote there: comments, order and layout stay.

The file is read anew under a lock, changed, checked, and takes the old one's place in one step. Where the same values were changed
meanwhile nothing is written. What was written is read back before it counts: it holds the wanted values, or the file stays as it was.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Array, Table

from digest.settings import table_values
from digest.settings.edition import SectionSettings, SourceSettings
from digest.settings.environment_keys import find_locked_changes
from digest.settings.loader import SettingsError, parse_settings_text
from digest.settings.model import SETTINGS_FILE_NAME, Settings, SettingsFileContent

_SOURCE_HEADER = re.compile(r"\s*\[\[\s*sources\s*\]\]")
_OTHER_HEADER = re.compile(r"\s*\[(?!\s*sources\s*\.)")


class SettingsConflictError(SettingsError):
    """The same values were changed by somebody else since they were shown; nothing was written."""


def change_table(
    settings: Settings,
    table: str,
    values: Mapping[str, Any],
    *,
    fingerprint: str,
    permit: Callable[[BaseModel, BaseModel], None] = lambda *_: None,
) -> Settings:
    """Write new values into a table of the file, and return the settings as they then are.

    Args:
        settings: the settings of this process; their file is read anew.
        table: the table's name, such as `schedule`.
        values: the values by their keys; those that stand there already are left alone.
        fingerprint: of the values that were shown (`fingerprint_values`).
        permit: called with the table as the file has it and as it's going to be, before anything is written; it may raise.

    Raises:
        SettingsValueError: a value is wrong.
        SettingsConflictError: the table was changed meanwhile.
        SettingsError: the file cannot be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        before: BaseModel = getattr(file, table)
        _refuse_conflict(before, fingerprint)
        new_file = table_values.replace_table_values(file, table, values)
        permit(before, getattr(new_file, table))
        changed = table_values.find_changed_values(before, getattr(new_file, table), values)
        return _set_table_values(text, table, changed), new_file

    return _rewrite_file(settings, edit)


def replace_sections(
    settings: Settings,
    sections: Sequence[Mapping[str, Any]],
    *,
    fingerprint: str,
    permit: Callable[[Sequence[SectionSettings], Sequence[SectionSettings]], None] = lambda *_: None,
) -> Settings:
    """Write the list of sections, in its order; those that stay keep their comments. `permit` is as in `change_table`.

    Raises:
        SettingsValueError: a value is wrong.
        SettingsConflictError: the sections were changed meanwhile.
        SettingsError: the file cannot be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        _refuse_conflict(file.sections, fingerprint)
        new_file = table_values.replace_section_list(file, sections)
        permit(file.sections, new_file.sections)
        rows = [section.model_dump() for section in new_file.sections]
        return (text if new_file == file else _set_section_rows(text, rows)), new_file

    return _rewrite_file(settings, edit)


def edit_settings_text(settings: Settings, text: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a settings file with values set in its tables; what says the same already is left alone.

    `settings` gives what the environment says beside it; nothing is written.

    Raises:
        SettingsError: it is no TOML, a value is wrong, or something is written so that only a person can change it.
    """
    try:
        for table, values in tables.items():
            before = parse_settings_text(settings, text).file
            new_file = table_values.replace_table_values(before, table, values)
            changed = table_values.find_changed_values(getattr(before, table), getattr(new_file, table), values)
            text = _set_table_values(text, table, changed) if changed else text
            _check_written(settings, parse_settings_text(settings, text).file, new_file, f"[{table}]")
    except TOMLKitError as exc:
        raise SettingsError(f"The settings weren't changed: {exc}") from exc
    return text


def append_sources(settings: Settings, sources: Sequence[SourceSettings]) -> Settings:
    """Add sources at the end of the file.

    Raises:
        SettingsError: the file would not be right any more, or cannot be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        new_file = table_values.check_settings_file(file, {"sources": [*file.sources, *sources]})
        document = tomlkit.parse(text)
        listed = document.get("sources")
        rows = [_changed_source_values(source) for source in sources]
        if isinstance(listed, Array):
            listed.extend(_inline_table(row) for row in rows)
            return tomlkit.dumps(document), new_file
        blocks = "\n".join("[[sources]]\n" + tomlkit.dumps(row) for row in rows)
        return text.rstrip("\n") + ("\n\n" if text.strip() else "") + blocks, new_file

    return _rewrite_file(settings, edit)


def change_source_in_file(settings: Settings, url: str, values: Mapping[str, Any], *, fingerprint: str) -> Settings:
    """Write new values for one source, found by its address.

    Raises:
        SettingsValueError: a value is wrong.
        SettingsConflictError: the source was changed or removed meanwhile.
        SettingsError: the file cannot be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        before = next((source for source in file.sources if source.url == url), None)
        _refuse_conflict(before, fingerprint)
        new_file = table_values.replace_source_values(file, url, values)
        after = next(source for source in new_file.sources if source.url == values.get("url", url))
        document = tomlkit.parse(text)
        row = next(row for row in document["sources"] if row["url"] == url)
        for name, value in table_values.find_changed_values(before, after, values).items():
            _set_value(row, name, value)
        return tomlkit.dumps(document), new_file

    return _rewrite_file(settings, edit)


def remove_source_from_file(settings: Settings, url: str) -> Settings:
    """Take one source out of the file; comments around it stay.

    Raises:
        SettingsError: the file names none of this address, or cannot be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        remaining = [source for source in file.sources if source.url != url]
        if len(remaining) == len(file.sources):
            raise SettingsConflictError(
                f"The source {url} is no longer in the settings, so it wasn't changed. Reload the page."
            )
        new_file = table_values.check_settings_file(file, {"sources": remaining})
        place = next(number for number, source in enumerate(file.sources) if source.url == url)
        document = tomlkit.parse(text)
        if isinstance(document.get("sources"), AoT):
            return _cut_source_block(text, place), new_file
        del document["sources"][place]
        return tomlkit.dumps(document), new_file

    return _rewrite_file(settings, edit)


def _refuse_conflict(values: BaseModel | Sequence[BaseModel] | None, fingerprint: str) -> None:
    if values is None or table_values.fingerprint_values(values) != fingerprint:
        raise SettingsConflictError(
            "Someone else has made changes since you opened the page, so yours weren't saved. Compare yours "
            "with the new values."
        )


def _rewrite_file(
    settings: Settings, edit: Callable[[str, SettingsFileContent], tuple[str, SettingsFileContent]]
) -> Settings:
    """Change the file under a lock; whatever fails, the old one stays."""
    file = (settings.origin or Path(SETTINGS_FILE_NAME)).resolve()  # through a link, the file itself is replaced
    try:
        with _lock_folder(file.parent):
            before = file.read_bytes().decode("utf-8") if file.exists() else ""
            after, new_file = edit(before, parse_settings_text(settings, before).file)
            checked = parse_settings_text(settings, after)
            _check_written(settings, checked.file, new_file, str(file))
            if after != before:
                replace_text_file(file, after)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise SettingsError(f"Can't change {file}: {reason}.") from exc
    except TOMLKitError as exc:
        raise SettingsError(f"{file} wasn't changed: {exc}") from exc
    return checked.model_copy(update={"origin": settings.origin or Path(SETTINGS_FILE_NAME)})


def _check_written(settings: Settings, written: SettingsFileContent, wanted: SettingsFileContent, place: str) -> None:
    """Refuse a file that doesn't say what it should: the environment decides about a key, or only a person can change the text.

    Raises:
        SettingsError: it doesn't.
    """
    if variables := list(find_locked_changes(settings, written, wanted)):
        raise SettingsError(
            f"The environment sets {' and '.join(variables)}, which takes precedence over digest.toml.",
            remedy="Change it there, and restart.",
        )
    if written != wanted:
        raise SettingsError(f"Can't update {place} automatically. Edit it by hand.")


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Keep others of this product from changing the file at the same time."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace_text_file(file: Path, text: str, *, new_mode: int = 0o644) -> None:
    """Write beside the file, with its mode and owner, so that taking its place is one step; a new one gets `new_mode`.

    What root writes belongs to whom the file belonged to, a new one to whom its folder does: a service must go on reading it.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".toml", dir=file.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(file.stat().st_mode & 0o777 if file.exists() else new_mode)
        if os.geteuid() == 0:
            owner = (file if file.exists() else file.parent).stat()
            os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _set_table_values(text: str, table: str, values: Mapping[str, Any]) -> str:
    """Set values in a table. A key that stands there in a comment, with its default, is set in that line."""
    listed = tomlkit.parse(text).get(table)
    if listed is None or isinstance(listed, Table):
        for name in values:
            if listed is None or name not in listed:
                text = _make_room(text, table, name)
    document = tomlkit.parse(text)
    row = document.setdefault(table, tomlkit.table())
    for name, value in values.items():
        _set_value(row, name, value)
    return tomlkit.dumps(document)


def _make_room(text: str, table: str, name: str) -> str:
    """Put a line for a key into its table: where a comment shows it, else right below the table's header."""
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*{re.escape(table)}\s*\]")
    at = next((number for number, line in enumerate(lines) if header.match(line)), None)
    if at is None:
        return text
    commented = re.compile(rf"\s*#\s*({re.escape(name)}\s*=.*)", re.DOTALL)
    for number in range(at + 1, len(lines)):
        if lines[number].lstrip().startswith("["):
            break
        if commented_line := commented.match(lines[number]):
            uncommented_text = "".join([*lines[:number], commented_line[1], *lines[number + 1 :]])
            if _is_toml(uncommented_text):
                return uncommented_text
    end = "" if lines[at].endswith("\n") else "\n"
    return "".join([*lines[: at + 1], f'{end}{name} = ""\n', *lines[at + 1 :]])


def _is_toml(text: str) -> bool:
    try:
        tomlkit.parse(text)
    except TOMLKitError:
        return False
    return True


def _set_value(row: Any, name: str, value: Any) -> None:
    """Set one value of a table; a table below it keeps its place and its comments."""
    listed = row.get(name)
    if isinstance(value, dict):
        if isinstance(listed, Table):
            for key in [key for key in listed if key not in value]:
                del listed[key]
            for key, item in value.items():
                _put_key(listed, key, item)
            return
        value = _inline_table(value)
    _put_key(row, name, value)


def _put_key(row: Any, key: str, value: Any) -> None:
    """Set a key; a new one stands before the comments at the table's end, which speak of what follows."""
    if key in row and row[key] == value:
        return
    tail: list[Any] = []
    if isinstance(row, Table) and key not in row:
        body = row.value.body
        while body and body[-1][0] is None:
            tail.insert(0, body.pop()[1])
    row[key] = value
    for item in tail:
        row.add(item)


def _inline_table(values: Mapping[str, Any]) -> Any:
    table = tomlkit.inline_table()
    for name, value in values.items():
        table[name] = _inline_table(value) if isinstance(value, dict) else value
    return table


def _changed_source_values(source: SourceSettings) -> dict[str, Any]:
    """Return what a source's block has to say: what is not the default."""
    values = source.model_dump(exclude_defaults=True)
    return {name: _inline_table(value) if isinstance(value, dict) else value for name, value in values.items()}


def _set_section_rows(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    document = tomlkit.parse(text)
    listed = document.get("sections")
    if isinstance(listed, Array):
        array = tomlkit.array().multiline(multiline=True)
        array.extend(_inline_table(row) for row in rows)
        document["sections"] = array
        return tomlkit.dumps(document)
    if listed is None:
        blocks = "\n".join("[[sections]]\n" + tomlkit.dumps(row) for row in rows)
        return text.rstrip("\n") + ("\n\n" if text.strip() else "") + blocks
    by_key = {str(row["key"]): row for row in listed}
    tables = tomlkit.aot()
    for row in rows:
        table = by_key.get(row["key"])
        if table is None:
            table = tomlkit.table()
            table.update(row)
            table.add(tomlkit.nl())
        else:
            for name, value in row.items():
                _put_key(table, name, value)
        tables.append(table)
    document["sections"] = tables
    return tomlkit.dumps(document)


def _cut_source_block(text: str, place: int) -> str:
    """Cut the block of a source out of the text: from its header to its last key; comments after it stay."""
    lines = text.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if _SOURCE_HEADER.match(line)]
    if place >= len(starts):
        return text
    start = starts[place]
    following = (number for number in range(start + 1, len(lines)) if _OTHER_HEADER.match(lines[number]))
    end = next(following, len(lines))
    while end > start + 1 and _is_trivia(lines[end - 1]):
        end -= 1
    if end < len(lines) and not lines[end].strip():
        end += 1  # the empty line that parted it from what follows
    return "".join([*lines[:start], *lines[end:]])


def _is_trivia(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")

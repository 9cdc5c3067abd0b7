"""Changes to `digest.toml` that preserve the operator's comments, order, and layout.

The file is read again under a lock, changed, checked, and replaced atomically. If the same values
were changed in the meantime, nothing is written. Before the file is replaced, the new text is
parsed, and must have the intended values.
"""

import fcntl
import os
import re
import tempfile
import tomllib
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
from digest.settings.environment_overrides import find_overridden_changes
from digest.settings.loader import SettingsError, parse_settings_text
from digest.settings.model import SETTINGS_FILE_NAME, Settings, SettingsFileContent
from subscribers.english_text import join_words

_SOURCE_HEADER = re.compile(r"\s*\[\[\s*sources\s*\]\]")
_OTHER_HEADER = re.compile(r"\s*\[(?!\s*sources\s*\.)")


class SettingsConflictError(SettingsError):
    """Raised when the same values were changed after they were shown.

    Nothing was written.
    """


def change_table(
    settings: Settings,
    table: str,
    values: Mapping[str, Any],
    *,
    fingerprint: str,
    permit: Callable[[BaseModel, BaseModel], None] = lambda *_: None,
) -> Settings:
    """Write new values to a table in the file, and return the resulting settings.

    Args:
        settings: the settings of this process, whose file is read again.
        table: the name of the table, such as `schedule`.
        values: new values by key; values that the file already has aren't touched.
        fingerprint: the fingerprint of the values as they were shown (see `fingerprint_values`).
        permit: called with the old and the new table before anything is written; it may raise an
            error.

    Raises:
        SettingsValueError: a value is invalid.
        SettingsConflictError: the table was changed in the meantime.
        SettingsError: the file can't be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        before: BaseModel = getattr(file, table)
        _refuse_conflict(before, fingerprint)
        new_file = table_values.update_table(file, table, values)
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
    """Write the list of sections in order, and return the resulting settings.

    Comments on existing sections are kept. `permit` is the same as in `change_table`.

    Raises:
        SettingsValueError: a value is invalid.
        SettingsConflictError: the sections were changed in the meantime.
        SettingsError: the file can't be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        _refuse_conflict(file.sections, fingerprint)
        new_file = table_values.replace_section_list(file, sections)
        permit(file.sections, new_file.sections)
        rows = [section.model_dump() for section in new_file.sections]
        return (text if new_file == file else _set_section_rows(text, rows)), new_file

    return _rewrite_file(settings, edit)


def edit_settings_text(settings: Settings, text: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a settings file with new values in its tables.

    Values that aren't new aren't touched. The values from the environment are those in `settings`.
    Nothing is written.

    Raises:
        SettingsError: the text isn't valid TOML, a value is invalid, or the text can't be changed
            automatically.
    """
    try:
        for table, values in tables.items():
            before = parse_settings_text(settings, text).file
            new_file = table_values.update_table(before, table, values)
            changed = table_values.find_changed_values(getattr(before, table), getattr(new_file, table), values)
            text = _set_table_values(text, table, changed) if changed else text
            _check_written(settings, parse_settings_text(settings, text).file, new_file, f"[{table}]")
    except TOMLKitError as exc:
        raise SettingsError(f"The settings weren't changed: {exc}") from exc
    return text


def append_sources(settings: Settings, sources: Sequence[SourceSettings]) -> Settings:
    """Add sources at the end of the file, and return the resulting settings.

    Raises:
        SettingsError: the file would become invalid, or it can't be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        new_file = table_values.merge_tables(file, {"sources": [*file.sources, *sources]})
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
    """Write new values for the source that has a URL, and return the resulting settings.

    Raises:
        SettingsValueError: a value is invalid.
        SettingsConflictError: the source was changed or removed in the meantime.
        SettingsError: the file can't be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        before = next((source for source in file.sources if source.url == url), None)
        _refuse_conflict(before, fingerprint)
        new_file = table_values.update_source(file, url, values)
        after = next(source for source in new_file.sources if source.url == values.get("url", url))
        document = tomlkit.parse(text)
        row = next(row for row in document["sources"] if row["url"] == url)
        for name, value in table_values.find_changed_values(before, after, values).items():
            _set_value(row, name, value)
        return tomlkit.dumps(document), new_file

    return _rewrite_file(settings, edit)


def remove_source_from_file(settings: Settings, url: str) -> Settings:
    """Remove a source from the file, and return the resulting settings.

    Comments around the source are kept.

    Raises:
        SettingsError: the file has no source with this URL, or it can't be read or written.
    """

    def edit(text: str, file: SettingsFileContent) -> tuple[str, SettingsFileContent]:
        remaining = [source for source in file.sources if source.url != url]
        if len(remaining) == len(file.sources):
            raise SettingsConflictError(
                f"The source {url} is no longer in the settings, so it wasn't changed. Reload the page."
            )
        new_file = table_values.merge_tables(file, {"sources": remaining})
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
    """Change the settings file while holding a lock.

    If anything fails, the old file is kept.
    """
    # If it's a symbolic link, the link is kept and its target is replaced.
    file = (settings.origin or Path(SETTINGS_FILE_NAME)).resolve()
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
    """Raise an error unless a file has the intended values.

    Raises:
        SettingsError: the environment overrides a value, or the text can't be changed
            automatically.
    """
    if variables := list(find_overridden_changes(settings, written, wanted)):
        raise SettingsError(
            f"{join_words(variables)} {'is' if len(variables) == 1 else 'are'} set in the environment, which takes "
            "precedence over digest.toml.",
            remedy="Change the setting in the environment, and restart.",
        )
    if written != wanted:
        raise SettingsError(f"Can't update {place} automatically. Edit it by hand.")


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Prevent other processes of this program from changing the file at the same time."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace_text_file(file: Path, text: str, *, new_mode: int = 0o644) -> None:
    """Replace a text file atomically, or create it.

    An existing file keeps its mode, and a new file gets `new_mode`. If root writes the file, an
    existing file keeps its owner and a new file gets the owner of its folder, so that services can
    read it.

    Raises:
        OSError: the file can't be written.
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
    """Return a text with new values set in one of its tables.

    If the line of a key is commented out, the value is set in that line.
    """
    listed = tomllib.loads(text).get(table, {})
    for name in values:
        if name not in listed:
            text = _make_room(text, table, name)
    document = tomlkit.parse(text)
    row = document.setdefault(table, tomlkit.table())
    for name, value in values.items():
        _set_value(row, name, value)
    return tomlkit.dumps(document)


def _make_room(text: str, table: str, name: str) -> str:
    """Return a text with a line for a key in a table.

    The line replaces the commented-out line of the key, or comes directly after the table's header.
    """
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
        tomllib.loads(text)  # a tenth of tomlkit's time
    except tomllib.TOMLDecodeError:
        return False
    return True


def _set_value(row: Any, name: str, value: Any) -> None:
    """Set a value in a table.

    If the value is a nested table, it keeps its position and comments.
    """
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
    """Set a key in a table.

    A new key comes before any comments at the end of the table, because they belong to the next
    table.
    """
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
    """Return the values of a source that aren't the defaults."""
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
    """Return a text without the block of a source, from its header to its last key.

    Comments after the block are kept.
    """
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
        end += 1  # the empty line before the next block
    return "".join([*lines[:start], *lines[end:]])


def _is_trivia(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")

"""Adding sources to `digest.toml` without touching what the operator wrote there."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from digest.settings import SETTINGS_FILE_NAME, Settings, SettingsError, SourceSettings, load_settings


def append_sources(settings: Settings, sources: Sequence[SourceSettings]) -> Settings:
    """Write `[[sources]]` blocks at the end of the settings file, and give the settings as they then are.

    The new file is checked before it takes the old one's place; whatever fails, the old one stays.

    Raises:
        SettingsError: the file would not be right any more, or cannot be written.
    """
    file = (settings.origin or Path(SETTINGS_FILE_NAME)).resolve()  # through a link, the file itself is replaced
    try:
        before = file.read_text("utf-8") if file.exists() else ""
        after = before.rstrip("\n") + ("\n\n" if before.strip() else "") + "\n".join(map(_source_block, sources))
        draft = _write_draft_file(file, after)
    except OSError as exc:
        raise SettingsError(f"{file}: cannot be written ({exc.strerror}). Nothing was changed.") from exc
    try:
        checked = load_settings(draft)
        draft.replace(file)
    except SettingsError as exc:
        advice = "If the file has 'sources = […]' in brackets, write each source as a [[sources]] table instead."
        raise SettingsError(f"{file} was left as it is. {exc}\n{advice}") from exc
    finally:
        draft.unlink(missing_ok=True)
    return checked.model_copy(update={"origin": settings.origin or Path(SETTINGS_FILE_NAME)})


def _write_draft_file(file: Path, text: str) -> Path:
    """Write into the same folder, so that taking the place of `file` is one step."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".toml", dir=file.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft = Path(name)
    draft.chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
    return draft


def _source_block(source: SourceSettings) -> str:
    lines = ["[[sources]]"]
    for key in ("url", "name", "publisher", "section"):
        value = getattr(source, key)
        if key != "section" or value != SourceSettings.model_fields["section"].default:
            lines.append(f"{key} = {_toml_string(value)}")
    return "\n".join(lines) + "\n"


def _toml_string(text: str) -> str:
    # A JSON string is a TOML basic string but for DEL, which TOML wants escaped (toml.io, v1.0.0, String).
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

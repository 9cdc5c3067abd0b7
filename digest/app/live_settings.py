"""The settings of a process that runs long: what an edition is made of is read again when the file has changed.

Without it, a running `digest serve` would take out again what `digest sources add` has written meanwhile, and
an editor's pin would wait for a restart. The other tables stand where a process was started: its pages, its
sender and its way out are built from them.
"""

from pathlib import Path

import structlog

from digest.settings import Settings, SettingsError, reload_settings

LIVE_TABLES = ("schedule", "sources", "select", "readership", "sponsor")  # tables of digest.toml

log = structlog.get_logger("settings")

FileStamp = tuple[int, int, int]


class LiveSettings:
    """Settings that follow their file. It lives as long as its installation; any thread may ask it."""

    def __init__(self, settings: Settings) -> None:
        """Begin with settings that were just read."""
        self._settings = settings
        self._file_stamp = _read_file_stamp(settings.origin)

    def current(self) -> Settings:
        """Give the settings as they are. A file that cannot be used leaves them as they were, and is logged once."""
        stamp = _read_file_stamp(self._settings.origin)
        if stamp is None or stamp == self._file_stamp:
            return self._settings
        self._file_stamp = stamp
        before = self._settings.file
        try:
            after = reload_settings(self._settings).file
        except SettingsError as exc:
            log.warning("the settings have changed and can't be used: going on as before", why=str(exc))
            return self._settings
        changed = {name for name in type(after).model_fields if getattr(after, name) != getattr(before, name)}
        followed = {name: getattr(after, name) for name in LIVE_TABLES}
        self._settings = self._settings.model_copy(update={"file": before.model_copy(update=followed)})
        log.info("the settings have changed", followed=sorted(changed.intersection(LIVE_TABLES)))
        if waiting := sorted(changed.difference(LIVE_TABLES)):
            log.warning("some settings count when this process is started again", tables=waiting)
        return self._settings


def _read_file_stamp(file: Path | None) -> FileStamp | None:
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None  # moved away for a moment, as editors do when they save
    return status.st_mtime_ns, status.st_size, status.st_ino

"""The settings of a process that runs long: what an edition is made of is read again when the file has changed.

Without it, a running `digest serve` would take out again what `digest sources add` has written meanwhile, and
an editor's pin would wait for a restart. The other tables stand where a process was started: its pages, its
sender and its way out are built from them.
"""

from pathlib import Path

import structlog

from digest.settings import Settings, SettingsError, reread

FOLLOWED = ("schedule", "sources", "select", "readership", "sponsor")  # tables of digest.toml

log = structlog.get_logger("settings")

Stamp = tuple[int, int, int]


class Following:
    """Settings that follow their file. It lives as long as its installation; any thread may ask it."""

    def __init__(self, settings: Settings) -> None:
        """Begin with settings that were just read."""
        self._settings = settings
        self._seen = _stamp(settings.origin)

    def now(self) -> Settings:
        """Give the settings as they are. A file that cannot be used leaves them as they were, and is logged once."""
        stamp = _stamp(self._settings.origin)
        if stamp is None or stamp == self._seen:
            return self._settings
        self._seen = stamp
        before = self._settings.file
        try:
            after = reread(self._settings).file
        except SettingsError as exc:
            log.warning("the settings have changed and can't be used: going on as before", why=str(exc))
            return self._settings
        changed = {name for name in type(after).model_fields if getattr(after, name) != getattr(before, name)}
        followed = {name: getattr(after, name) for name in FOLLOWED}
        self._settings = self._settings.model_copy(update={"file": before.model_copy(update=followed)})
        log.info("the settings have changed", followed=sorted(changed.intersection(FOLLOWED)))
        if waiting := sorted(changed.difference(FOLLOWED)):
            log.warning("some settings count when this process is started again", tables=waiting)
        return self._settings


def _stamp(file: Path | None) -> Stamp | None:
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None  # moved away for a moment, as editors do when they save
    return found.st_mtime_ns, found.st_size, found.st_ino

"""The copy guard, which pauses sending if the database is opened in a new place and so may be a copy.

Two installations with the same list would email everyone twice. The database therefore records
where it was last opened. If that has changed, nothing is sent until an admin resumes sending. An
unnecessary pause costs one command, but an unnoticed copy sends duplicate emails. The new place is
then recorded, so that another copy is noticed, too.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from digest.deliver.control import installation_hold
from digest.settings import Settings
from digest.store.engine import Database

COPY_GUARD_ACTOR = "the copy guard"
_MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))  # see machine-id(5)
_DIFFERENCE_TEXTS = {
    "name": "under another name ({})",
    "machine": "on another machine",
    "path": "in another location ({})",
    "file": "in another file",
    "server": "on another PostgreSQL server",
    "database": "as another database ({})",
}


def pause_if_copied(database: Database, settings: Settings, *, now: datetime) -> None:
    """Pause all sending if the database was last opened elsewhere, and record the new place."""
    current = read_database_identity(database, settings)
    with database.read() as session:
        recorded = installation_hold.read_installation_value(session, installation_hold.IDENTITY_STATE_KEY)
    if recorded == current:
        return
    with database.write() as session:
        recorded = installation_hold.read_installation_value(session, installation_hold.IDENTITY_STATE_KEY)
        differences = [] if recorded is None else describe_differences(recorded, current)
        if differences:
            why = f"this may be a copy, because its database was last used {' and '.join(differences)}"
            installation_hold.pause_possible_copy(
                session,
                (
                    f"{why}. Resume sending only if nothing else is sending to the same list. Editions sent since this "
                    "was copied would be sent twice, so cancel them first"
                ),
                actor=COPY_GUARD_ACTOR,
                now=now,
            )
        installation_hold.write_installation_value(session, installation_hold.IDENTITY_STATE_KEY, current, now=now)


def describe_differences(recorded: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Return phrases that describe how two places differ.

    Parts that are unknown in either place, such as a container's machine ID, are ignored.
    """
    if recorded.keys() != current.keys():
        return ["in another environment"]
    return [
        _DIFFERENCE_TEXTS[part].format(recorded[part])
        for part in current
        if recorded[part] and current[part] and recorded[part] != current[part]
    ]


def read_database_identity(database: Database, settings: Settings) -> dict[str, str]:
    """Return values that identify the place of a database.

    They're the name of the installation in the settings, or the machine and the file, or the
    database server.
    """
    if settings.installation:
        return {"name": settings.installation}
    if database.engine.dialect.name == "postgresql":
        return _postgresql_identity(database)
    path = Path(make_url(settings.effective_database_url).database or "").resolve()
    return {"machine": _machine_id_hash(), "path": str(path), "file": str(path.stat().st_ino)}


def _machine_id_hash() -> str:
    """Return a hash of the machine ID, or an empty string if there's none.

    The ID itself must not be exposed (see machine-id(5)).
    """
    for file in _MACHINE_ID_FILES:
        try:
            machine_id = file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if machine_id and machine_id != "uninitialized":
            return hashlib.sha256(f"hls-digest {machine_id}".encode()).hexdigest()[:16]
    return ""


def _postgresql_identity(database: Database) -> dict[str, str]:
    """Return the identifiers of the PostgreSQL cluster and database.

    Names may be used again, but numbers aren't.
    """
    with database.read() as session:
        row = session.execute(text("SELECT datname, oid FROM pg_database WHERE datname = current_database()")).one()
    try:
        with database.read() as session:
            cluster = session.scalar(text("SELECT system_identifier FROM pg_control_system()"))
    except DBAPIError:  # a hosted server may hide it, but the number of the database remains
        cluster = ""
    return {"server": str(cluster), "database": row.datname, "file": str(row.oid)}

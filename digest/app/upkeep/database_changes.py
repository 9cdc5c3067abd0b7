"""Schema upgrades, each preceded by a backup, and moves to another database.

Both are verified.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, make_url, select, table

from digest.app.editing.edit_application import apply_current_settings_to_draft
from digest.backups import creation
from digest.backups.archive import BackupError
from digest.backups.migration import MigrationResult, move_database, parse_target_url
from digest.backups.restore import choose_unused_name, require_exclusive_use, wait_for_other_connections
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.edition.edition_queries import UNAPPROVED_STATES
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import (
    Installation,
    InstallationError,
    open_installation,
    refuse_missing_files,
)
from digest.settings import SETTINGS_FILE_NAME, Settings
from digest.settings.environment_file import ENVIRONMENT_FILE_NAME, change_variables
from digest.settings.file_edits import replace_text_file
from digest.store.audit import record_audit
from digest.store.audit_chain import add_audit_fault_to_proof
from digest.store.engine import (
    Database,
    newest_schema_revision,
    open_database,
    read_schema_revision,
    refuse_unsupported_schema,
)
from digest.store.models import Edition
from subscribers.callback_types import Progress
from subscribers.consent import seals
from subscribers.consent.seals import LedgerProof
from subscribers.errors import ApplicationError

ShowProgress = Callable[[str], AbstractContextManager[Progress]]
"""Begins a progress display for a named step.

Its context yields a function that's called with the done and total counts.
"""
_COUNTED_TABLES = (
    "person",
    "suppression",
    "edition",
    "delivery",
    "article",
)  # no migration changes the number of their rows


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The result of backing up, upgrading, and verifying the database.

    `backup` is None if the schema was current, and `proof` is the verification of the ledger.
    `drafts` are the upcoming drafts that were updated because the new version composes them
    differently.
    """

    before: str
    after: str
    backup: Path | None
    proof: LedgerProof
    drafts: tuple[str, ...] = ()


def upgrade_installation(
    settings: Settings, actor: Actor, *, now: datetime, show_progress: ShowProgress
) -> UpgradeResult:
    """Back up the database, upgrade its schema, and verify the result.

    If the schema is current, it's only verified. Upcoming drafts are updated so that they can be
    approved (see `apply_current_settings_to_draft`). The actor is the user of the terminal, because
    staff can't be looked up before the schema is current.

    Raises:
        InstallationError: there's no installation, or its database is unavailable.
        UnsupportedSchemaError: another version or program has used the database, and this one can't
            upgrade it.
        BackupError: the database is in use or can't be backed up, and nothing has changed; or rows
            are missing after the upgrade.
    """
    with _open_existing_database(settings) as (database, before):
        is_old = before != newest_schema_revision()
        backup = _back_up(settings, database, before, now, show_progress) if is_old else None
        counts = _count_rows(database) if is_old else {}
    with open_installation(settings) as installation:
        after = _count_rows(installation.database)
        if lost := [name for name, count in counts.items() if after[name] != count]:
            raise BackupError(
                f"The upgrade changed the number of rows in {', '.join(lost)}. Install the previous version and "
                f"restore {backup} with it."
            )
        proof = _prove(installation, show_progress)
        if backup is not None:
            detail = {"from": before, "to": newest_schema_revision(), "backup": backup.name}
            with installation.write() as session:
                record_audit(session, "upgraded", "installation", detail, actor=actor.name, now=now)
        drafts = tuple(_update_drafts(installation, actor, now))
    return UpgradeResult(before, newest_schema_revision(), backup, proof, drafts)


def needs_upgrade(settings: Settings) -> bool:
    """Return True if the schema is older than this version's.

    Raises:
        InstallationError: there's no installation, or its database is unavailable.
        UnsupportedSchemaError: another version or program has used the database, and this one can't
            upgrade it.
    """
    with _open_existing_database(settings) as (_, revision):
        return revision != newest_schema_revision()


@contextmanager
def _open_existing_database(settings: Settings) -> Iterator[tuple[Database, str]]:
    """Open the database without migrating it, and yield it with the revision of its schema."""
    refuse_missing_files(settings)
    with closing(open_database(settings.effective_database_url)) as database:
        revision = read_schema_revision(database)
        refuse_unsupported_schema(revision)
        if revision is None:
            raise InstallationError(
                f"The database in {settings.home} doesn't exist or isn't responding. Run 'digest init' first."
            )
        yield database, revision


def _update_drafts(installation: Installation, actor: Actor, now: datetime) -> Iterator[str]:
    coming = select(Edition.name).where(Edition.state.in_(UNAPPROVED_STATES), Edition.release_at > now)
    with installation.read() as session:
        names = session.scalars(coming.order_by(Edition.release_at)).all()
    for name in names:
        # Drafts that can't be updated are reported by the audit log, the review page, and `digest
        # doctor`.
        with suppress(ApplicationError):
            if apply_current_settings_to_draft(installation, name, actor=actor, now=now):
                yield name


def _back_up(settings: Settings, database: Database, revision: str, now: datetime, show_progress: ShowProgress) -> Path:
    """Back up a database with an older schema, and return the file.

    No other process may be using the database.
    """
    _refuse_other_users(settings, database)
    passphrase = settings.backup_passphrase_text
    # The backup contains staff addresses, so without a passphrase, it stays next to the database.
    folder = Path((passphrase and settings.file.backup.folder) or settings.home / "backups")
    ending = ".zip.age" if passphrase else ".zip"
    name = choose_unused_name(
        f"before-upgrade-{revision}-{now:%Y%m%dT%H%M%SZ}", lambda taken: (folder / f"{taken}{ending}").exists()
    )
    file = folder / f"{name}{ending}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise BackupError(f"Can't create {folder}: {exc.strerror}. Check backup.folder in digest.toml.") from exc
    with show_progress("Backing up") as progress:
        creation.create_backup(database, file, passphrase=passphrase, now=now, progress=progress)
    return file


def _refuse_other_users(settings: Settings, database: Database) -> None:
    """Ensure that no process of the older version can write to the upgraded database."""
    if database.engine.dialect.name == "sqlite":
        database.close()
        require_exclusive_use(Path(make_url(settings.effective_database_url).database or ""))
        return
    with database.engine.connect() as connection:
        wait_for_other_connections(connection)


def _count_rows(database: Database) -> dict[str, int]:
    with database.engine.connect() as connection:
        return {name: _count_table(connection, name) for name in _COUNTED_TABLES}


def _count_table(connection: Connection, name: str) -> int:
    return connection.scalar(select(func.count()).select_from(table(name))) or 0


def _prove(installation: Installation, show_progress: ShowProgress) -> LedgerProof:
    keys = installation.keys
    with show_progress("Verifying") as progress, installation.read() as session:
        return add_audit_fault_to_proof(
            session, seals.verify_ledger(session, keys, tables=SEALED_TABLES, progress=progress)
        )


MOVE = Action("moved to another database")
_VARIABLE = "DIGEST_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class DatabaseMove:
    """The result of moving to another database, and the updated digest.env.

    `environment_file` is None if the operator has to set the variable.
    """

    result: MigrationResult
    environment_file: Path | None


def move_installation_to_database(
    settings: Settings,
    find_actor: Callable[[Installation], Actor],
    url: str,
    *,
    environ: Mapping[str, str],
    now: datetime,
    progress: Progress = lambda *_: None,
) -> DatabaseMove:
    """Move everything to an empty database, and verify it.

    The old database is paused, and the new URL is set in digest.env.

    Raises:
        NotPermittedError: the actor isn't an admin.
        BackupError: the installation can't be moved; nothing has changed.
    """
    target = parse_target_url(url)
    with open_installation(settings) as installation:
        actor = find_actor(installation)
        # Queue the email to admins first, so that it's moved, too, and sent from the new database.
        with MOVE.transaction(installation, actor, "installation", now=now) as (_, draft):
            draft.recorded = True  # in the new database, once that's verified
        keys = installation.keys
    result = move_database(settings.effective_database_url, target, keys, actor=actor.name, now=now, progress=progress)
    file = (settings.origin or Path(SETTINGS_FILE_NAME)).parent / ENVIRONMENT_FILE_NAME
    if not file.exists() or environ.get(_VARIABLE):
        return DatabaseMove(result, None)
    new_variables = {_VARIABLE: target.render_as_string(hide_password=False)}
    replace_text_file(file, change_variables(file.read_text("utf-8"), new_variables))
    return DatabaseMove(result, file)

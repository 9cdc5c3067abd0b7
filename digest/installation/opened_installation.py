"""The open installation: its settings, its database, and its keys.

The settings are reloaded when their file changes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from sqlalchemy import make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from digest.collect.sandbox.client import SANDBOX
from digest.installation import copied_installation_guard
from digest.installation.storage_errors import diagnose_damage, explain_storage_error, is_sqlite_disk_error
from digest.settings import Settings, SettingsError, SettingsFileContent, reload_settings
from digest.store.delivery_models import StaffMember
from digest.store.engine import (
    MIN_POSTGRESQL_VERSION,
    Database,
    describe_driver_error,
    find_unsupported_server_version,
    has_schema,
    migrate_schema,
    newest_schema_revision,
    open_database,
    read_schema_revision,
    refuse_unsupported_schema,
)
from digest.store.models import Edition
from subscribers.callback_types import Clock
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger
from subscribers.store.key_check import check_key_match, has_encrypted_data

# The tables of digest.toml that a running process follows. These are all except the bounce mailbox,
# whose job is set up at the start.
LIVE_TABLES = tuple(name for name in SettingsFileContent.model_fields if name != "inbound")

log = get_logger("installation")

_PUT_KEYS_BACK = "Restore the key file from the recovery copy that 'digest init' printed: digest keys restore FILE"

BRING_SCHEMA_UP = (
    "Stop everything that uses the database, then run 'digest upgrade', which makes a backup, updates the "
    "schema, and verifies it."
)

FileStamp = tuple[int, int, int]


def _read_file_stamp(file: Path | None) -> FileStamp | None:
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None  # briefly moved away, as some editors do when they save a file
    return status.st_mtime_ns, status.st_size, status.st_ino


class InstallationError(ApplicationError):
    """Raised if the installation can't be opened.

    The message says what's missing and what to do.
    """


class MigrationError(ApplicationError):
    """Raised if the tables can't be created or upgraded.

    The error says why and what to do.
    """


class Installation:
    """The installation that commands and processes work on.

    Its keys are loaded when they're first needed, from any thread.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        """Initialize the installation with settings that were just loaded and an open database."""
        self.database = database
        self._settings = settings
        self._file_stamp = _read_file_stamp(settings.origin)
        self._brand_image_names: tuple[object, ...] = ()
        database.row_keys.find = lambda: self.keys

    def read(self) -> AbstractContextManager[Session]:
        """Return a context manager for a read-only session."""
        return self.database.read()

    def write(self) -> AbstractContextManager[Session]:
        """Return a context manager for the session of a write transaction."""
        return self.database.write()

    @property
    def settings(self) -> Settings:
        """The current settings. They're reloaded if their file has changed.

        Only changes to the bounce mailbox need a restart. If the file can't be used, the previous
        settings remain in effect, and a warning is logged once.
        """
        self._follow_file()
        self._follow_brand_images()
        return self._settings

    def reload_brand_images(self) -> None:
        """Load the logo and header image again when the settings are next read.

        This is called when an image has been stored.
        """
        self._brand_image_names = ()

    def _follow_brand_images(self) -> None:
        """Load the logo and header image that the settings name, once for each combination of names."""
        branding = self._settings.file.branding
        names = (branding.logo, branding.logo_dark, branding.logo_height, branding.header, branding.is_always_dark)
        if names == self._brand_image_names or not (self._brand_image_names or branding.logo or branding.header):
            return
        self._brand_image_names = names
        # Imported here, because it needs the image library, and there may be no images.
        from digest.edition.brand_images import find_header_image, find_light_and_dark_logo

        with self.database.read() as session:
            images = {
                "logo": find_light_and_dark_logo(session, branding),
                "header": find_header_image(session, branding),
            }
        self._settings = self._settings.model_copy(update=images)

    def _follow_file(self) -> None:
        stamp = _read_file_stamp(self._settings.origin)
        if stamp is None or stamp == self._file_stamp:
            return
        self._file_stamp = stamp
        before = self._settings.file
        try:
            after = reload_settings(self._settings).file
        except SettingsError as exc:
            log.warning("the new settings are invalid, so the earlier ones stay in use", why=str(exc))
            return
        names = type(after).model_fields
        changed = {name for name in names if getattr(after, name) != getattr(before, name)}
        followed = {name: getattr(after, name) for name in LIVE_TABLES}
        self._settings = self._settings.model_copy(update={"file": before.model_copy(update=followed)})
        log.info("the settings were changed", followed=sorted(changed.intersection(LIVE_TABLES)))
        if waiting := sorted(changed.difference(LIVE_TABLES)):
            log.warning("some settings take effect when this process restarts", tables=waiting)

    @cached_property
    def keys(self) -> KeyRing:
        """The keys in the key file, after checking that they belong to the database.

        Raises:
            InstallationError: there's no key file.
            KeyMismatchError: other keys were used to write the database.
        """
        file = self.settings.key_file
        if not file.exists():
            raise make_missing_key_file_error(file, self.database)
        keys = KeyRing.load(file, self.settings.key_passphrase_text)
        with self.database.read() as session:
            check_key_match(session, keys)
        return keys

    def refuse_demo_keys(self) -> None:
        """Raise `InstallationError` if the keys are the demo's.

        This comes before actions that reach beyond this machine.

        Raises:
            InstallationError: the keys are the demo's.
        """
        if self.keys.has_demo_keys:
            raise InstallationError(
                (
                    f"{self.settings.key_file} contains the demo's keys, which are public, so this installation can't send "
                    "email or serve pages to others."
                ),
                remedy=(
                    "Set DIGEST_HOME to a new folder and run 'digest init' before anyone subscribes. New keys in this "
                    "folder wouldn't help, because the old keys would still be accepted."
                ),
            )

    @property
    def unsubscribe_log(self) -> UnsubscribeLog:
        """The unsubscribe log, which is kept outside the database."""
        return UnsubscribeLog(self.settings.left_log, self.keys)


@contextmanager
def open_installation(
    settings: Settings,
    *,
    may_create: bool = False,
    may_migrate: bool = True,
    clock: Clock = lambda: datetime.now(UTC),
) -> Iterator[Installation]:
    """Open an installation, upgrade its database schema, and close it at the end of the block.

    Nothing is created unless `may_create` is true. Read-only callers set `may_migrate` to False, so
    that an older schema is refused and left unchanged. In any case, all sending is paused if the
    database was last opened elsewhere (see `digest.installation.copied_installation_guard`).

    Raises:
        InstallationError: there's no installation, its folder or database is unavailable, or its
            schema is older and may not be migrated.
        UnsupportedSchemaError: another version or program has used the database, and this one can't
            upgrade it.
        StorageError: a lock, the disk, or the connection prevented an upgrade.
        MigrationError: an upgrade failed, and the schema is unchanged.
    """
    if may_create:
        create_home_folder(settings.home)
    else:
        refuse_missing_files(settings)
    with ExitStack() as opened:
        try:
            database = open_database(settings.effective_database_url)
            opened.callback(database.close)
            if not may_create and not has_schema(database):
                raise _missing_installation(settings, "the database is empty")
            if may_migrate:
                _migrate_or_explain(database)
            else:
                _refuse_other_schema(settings, database)
            installation = Installation(settings, database)
            copied_installation_guard.pause_if_copied(database, settings, now=clock())
        except OSError as exc:
            raise InstallationError(
                f"Can't open the database in {settings.home}: {exc.strerror}.",
                remedy=f"Check DIGEST_HOME (in {settings.environment_place}).",
            ) from exc
        except SQLAlchemyError as exc:
            if damage := diagnose_damage(exc):
                raise InstallationError(damage.message, remedy=damage.remedy) from exc
            # The URL may contain a password, so only the message of the driver is shown.
            reason = describe_driver_error(exc) if isinstance(exc, DBAPIError) else type(exc).__name__
            if is_sqlite_disk_error(exc):
                raise InstallationError(
                    f"Can't open the database: {reason}. The disk is full or failing.",
                    remedy=f"Free up space on the disk of {settings.home}. If it has space, check the kernel's log for disk errors.",
                ) from exc
            is_file = settings.effective_database_url.startswith("sqlite")
            condition = (
                "the service owns the database's file and folder and the disk has free space"
                if is_file
                else "the database server is running"
            )
            raise InstallationError(
                f"Can't open the database: {reason}.",
                remedy=(
                    f"Check DIGEST_DATABASE_URL and DIGEST_HOME (in {settings.environment_place}), and whether {condition}."
                ),
            ) from exc
        SANDBOX.keep_closed(settings.private_places)
        yield installation


def _migrate_or_explain(database: Database) -> None:
    """Upgrade the schema to the newest one, or raise an error that explains what to do.

    Raises:
        UnsupportedSchemaError: this version can't upgrade the schema.
        StorageError: a lock, the disk, or the connection prevented the upgrade.
        MigrationError: a migration failed, and the schema is unchanged.
    """
    try:
        _refuse_old_server(database)
        migrate_schema(database)
    except ApplicationError:
        raise
    except Exception as exc:
        if explained := explain_storage_error(exc):
            raise explained from exc
        reason = describe_driver_error(exc) if isinstance(exc, DBAPIError) else f"{type(exc).__name__}: {exc}"
        raise _make_failed_migration_error(read_schema_revision(database), reason.rstrip(".")) from exc


def _make_failed_migration_error(revision: str | None, reason: str) -> MigrationError:
    if revision is None:
        return MigrationError(f"Creating the database's tables failed: {reason}.", remedy="Report this error.")
    return MigrationError(
        f"Upgrading the database from schema {revision} failed and was undone: {reason}.",
        remedy=(
            "Install the previous version and start it: the database is as that version left it, so you don't need a "
            "backup. Then report this error."
        ),
    )


def _refuse_old_server(database: Database) -> None:
    if old_version := find_unsupported_server_version(database):
        raise InstallationError(
            f"The database server is PostgreSQL {old_version}, which is too old.",
            remedy=f"Move the database to PostgreSQL {MIN_POSTGRESQL_VERSION} or later.",
        )


def _refuse_other_schema(settings: Settings, database: Database) -> None:
    _refuse_old_server(database)
    revision = read_schema_revision(database)
    refuse_unsupported_schema(revision)
    if revision != newest_schema_revision():
        raise InstallationError(
            (
                f"The database in {settings.home} has an older schema ({revision or 'none'}) than this version needs "
                f"({newest_schema_revision()})."
            ),
            remedy=BRING_SCHEMA_UP,
        )


def refuse_missing_files(settings: Settings) -> None:
    """Refuse a folder that doesn't contain an installation, because opening the database would create one.

    Raises:
        InstallationError: the folder or the database file doesn't exist.
    """
    if not settings.home.is_dir():
        raise _missing_installation(settings, "the folder doesn't exist")
    url = make_url(settings.effective_database_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise _missing_installation(settings, f"{url.database} doesn't exist")


def _missing_installation(settings: Settings, reason: str) -> InstallationError:
    variables = "DIGEST_HOME and DIGEST_DATABASE_URL" if settings.database_url else "DIGEST_HOME"
    return InstallationError(
        f"There's no installation in {settings.home.absolute()} ({reason}).",
        remedy=(
            f"Check {variables} (in {settings.environment_place}, or in the environment, which takes precedence). "
            "To create an installation, run 'digest init' or 'digest setup'. To restore one from a backup, run "
            "'digest restore FILE'."
        ),
    )


def create_home_folder(home: Path) -> None:
    """Create the home folder so that only its owner can access it.

    Raises:
        InstallationError: the folder can't be created.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise InstallationError(
            f"Can't create {home}: {exc.strerror}.", remedy="Set DIGEST_HOME to a folder you can write to."
        ) from exc


def make_missing_key_file_error(file: Path, database: Database) -> InstallationError:
    """Return the error for a missing key file.

    Its remedy depends on whether the database has been used.
    """
    return _refusal_of_new_keys(file, database) or InstallationError(
        f"There's no key file {file}.", remedy="Run 'digest init' first."
    )


def _refusal_of_new_keys(file: Path, database: Database) -> InstallationError | None:
    """Return an error if new keys can't replace lost ones, because the database has been used.

    Otherwise, return None.
    """
    with database.read() as session:
        if has_encrypted_data(session):
            return InstallationError(
                (
                    f"The key file {file} is missing, but the database contains subscribers. With new keys, people who "
                    "unsubscribed would be emailed again."
                ),
                remedy=_PUT_KEYS_BACK,
            )
        first_ids = [session.scalar(select(table.id).limit(1)) for table in (StaffMember, Edition)]
        if any(first_id is not None for first_id in first_ids):
            return InstallationError(
                (
                    f"The key file {file} is missing, but the database contains editions or team members. With new keys, "
                    "approvals couldn't be verified and the team couldn't sign in."
                ),
                remedy=_PUT_KEYS_BACK,
            )
    return None


def create_key_file(installation: Installation) -> KeyRing | None:
    """Create the key file and return its keys, or return None if the file already exists.

    Raises:
        InstallationError: the key file is missing, and other keys were used to write the database.
        KeyMismatchError: the existing keys don't belong to the database.
        KeyFileError: the key file can't be created or read.
    """
    settings = installation.settings
    if settings.key_file.exists():
        _ = installation.keys  # raises KeyMismatchError if they don't belong to the database
        return None
    if refusal := _refusal_of_new_keys(settings.key_file, installation.database):
        raise refusal
    return KeyRing.create(settings.key_file, settings.key_passphrase_text)

"""The installation's keys, listed and rotated by an admin."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from digest.app.acts import Act, Actor, Role
from digest.app.installation import Installation, InstallationError
from subscribers.crypto import key_file
from subscribers.crypto.keys import KeyKind, KeyRing
from subscribers.store import key_rotation
from subscribers.store.key_check import check_keys
from subscribers.store.key_rotation import KeyUsage, RotationResult

LIST = Act("keys listed", Role.ADMIN)
ROTATE = Act("key rotated", Role.ADMIN)
RESTORE = Act("keys restored", Role.ADMIN)


def list_keys(installation: Installation, actor: Actor, *, now: datetime) -> list[KeyUsage]:
    """List the keys by kind, each with the number of rows that name it. No secret is among it.

    Raises:
        NotPermittedError: the actor is no admin.
    """
    LIST.check_role(installation.database, actor, "keys", now=now)
    with installation.database.read() as session:
        return key_rotation.list_key_usage(session, installation.keys)


def rotate_key(
    installation: Installation,
    actor: Actor,
    kind: KeyKind,
    *,
    force_new_key: bool,
    now: datetime,
    progress: Callable[[int, int], None],
) -> tuple[RotationResult, str]:
    """Make a fresh key of a kind, or finish a rotation that was cut short; give what it did and the new recovery copy.

    Raises:
        NotPermittedError: the actor is no admin.
        InstallationError: there is no key file.
        KeyFileError: it cannot be used.
    """
    with ROTATE.steps(installation.database, actor, kind, now=now) as draft:
        file = installation.settings.key_file
        _ = installation.keys  # raises where there is no key file
        result = key_rotation.rotate_key(
            installation.database, file, kind, force_new_key=force_new_key, progress=progress
        )
        draft.subject = f"{kind} {result.key_id}"
        draft.detail = {"made": result.key_added, "moved": result.rows_moved, "stuck": len(result.unmoved_rows)}
        return result, KeyRing.load(file).to_json().strip()


def restore_keys(
    installation: Installation, actor: Actor, recovery_copy: str, *, replace: bool, now: datetime
) -> Path | None:
    """Put a recovery copy back as the key file, if it is this database's; return where a former file was set aside.

    Raises:
        NotPermittedError: the actor is no admin.
        InstallationError: there is a key file, and `replace` is False.
        KeyFileError: the copy is damaged.
        KeyMismatchError: it belongs to another database.
    """
    file = installation.settings.key_file
    with RESTORE.steps(installation.database, actor, "keys", now=now):
        if file.exists() and not replace:
            raise InstallationError(
                f"{file}: there is a key file. To set it aside and put the copy in its place: --replace"
            )
        draft = file.with_name(f"{file.name}.restoring")
        draft.unlink(missing_ok=True)  # of a try that was cut short
        try:
            key_file.create_file(draft, recovery_copy.strip() + "\n")
            with installation.database.read() as session:
                check_keys(session, KeyRing.load(draft))
            aside = file.with_name(f"{file.name}.before-{now:%Y%m%dT%H%M%S}") if file.exists() else None
            if aside:
                file.rename(aside)
            draft.rename(file)
            key_file.sync_folder(file.parent)
        finally:
            draft.unlink(missing_ok=True)
        return aside

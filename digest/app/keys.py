"""The installation's keys, listed and rotated by an admin."""

from collections.abc import Callable
from datetime import datetime

from digest.app.actor import Actor, Role
from digest.app.acts import Act
from digest.app.installation import Installation
from subscribers.crypto.keys import KeyKind, KeyRing
from subscribers.store import key_rotation
from subscribers.store.key_rotation import KeyUsage, RotationResult

LIST = Act("keys listed", Role.ADMIN)
ROTATE = Act("key rotated", Role.ADMIN)


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

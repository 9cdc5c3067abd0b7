"""Listing, rotating, and restoring the installation's keys, and encrypting the key file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation, InstallationError
from digest.store.audit import add_macs_to_rows_without_mac
from digest.store.delivery_models import StaffMember
from digest.store.models import AuditEntry
from digest.store.staff import remove_forged_member
from subscribers.callback_types import Progress
from subscribers.crypto import key_file
from subscribers.crypto.keys import KeyFileError, KeyKind, KeyRing
from subscribers.crypto.passphrase import is_encrypted_text
from subscribers.store import key_rotation
from subscribers.store.key_check import check_key_match
from subscribers.store.keyed_row_seals import attach_keys_to_session, find_forged_rows, reseal_rows_with_current_key

LIST = Action("keys listed")
ROTATE = Action("key rotated")
RESTORE = Action("keys restored")
PROTECT, UNPROTECT = (
    Action("keys protected"),
    Action("keys unprotected"),
)


def list_keys(installation: Installation, actor: Actor, *, now: datetime) -> list[key_rotation.KeyUsage]:
    """Return the keys without their secrets, by kind, and the number of rows that use each.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LIST.check_role(installation, actor, "keys", now=now)
    with installation.read() as session:
        return key_rotation.list_key_usage(session, installation.keys)


def rotate_key(
    installation: Installation, actor: Actor, kind: KeyKind, *, force_new_key: bool, now: datetime, progress: Progress
) -> tuple[key_rotation.RotationResult, str]:
    """Create a new key of a kind, or finish an interrupted rotation.

    Return the result and the new recovery copy.

    Raises:
        NotPermittedError: the actor isn't an admin.
        InstallationError: there's no key file.
        KeyFileError: the key file can't be used.
    """
    with ROTATE.steps(installation, actor, kind, now=now) as draft:
        file, passphrase = installation.settings.key_file, installation.settings.key_passphrase_text
        _ = installation.keys  # raises InstallationError if there's no key file
        result = key_rotation.rotate_key(
            installation.database, file, kind, passphrase=passphrase, force_new_key=force_new_key, progress=progress
        )
        keys, discarded = KeyRing.load(file, passphrase), 0
        if kind == "access":
            with installation.write() as session:
                attach_keys_to_session(session, keys)
                result = replace(result, rows_moved=reseal_rows_with_current_key(session, keys))
                discarded = _discard_forged_rows(session, keys, actor, now)
        elif kind == "audit":
            with installation.write() as session:
                result = replace(result, rows_moved=add_macs_to_rows_without_mac(session, keys))
        draft.subject = f"{kind} {result.key_id}"
        draft.detail = {"made": result.key_added, "moved": result.rows_moved, "stuck": len(result.unmoved_rows)}
        draft.detail |= {"discarded": discarded} if discarded else {}
        return result, keys.to_json().strip()


def _discard_forged_rows(session: Session, keys: KeyRing, actor: Actor, now: datetime) -> int:
    """Delete the rows without a valid seal, and return how many were deleted.

    The numbers of staff members are kept.
    """
    forged = find_forged_rows(session, keys)
    for model, numbers in forged.items():
        if model is StaffMember:
            for member in session.scalars(select(StaffMember).where(StaffMember.id.in_(numbers))):
                remove_forged_member(session, member, actor=actor.name, now=now)
        else:
            session.execute(delete(model).where(model.id.in_(numbers)))
    return sum(map(len, forged.values()))


@dataclass(frozen=True, slots=True)
class KeyRestoration:
    """The result of restoring a recovery copy.

    `aside` is the new path of the previous file. `lost_keys` are keys that were created after the
    copy (such as `token 2-0f3a…`). No row uses them; otherwise, the copy would have been refused.
    """

    aside: Path | None
    lost_keys: tuple[str, ...]


def restore_keys(
    installation: Installation, actor: Actor, recovery_copy: str, *, replace: bool, now: datetime
) -> KeyRestoration:
    """Restore a recovery copy as the key file, if it belongs to this database.

    Newer keys in the previous file, which were created by rotations, are kept.

    Raises:
        NotPermittedError: the actor isn't an admin.
        InstallationError: a key file exists and `replace` is False, or the folder can't be written.
        KeyFileError: the copy is damaged.
        KeyMismatchError: the copy belongs to another database, or a row uses a newer key.
    """
    file, passphrase = installation.settings.key_file, installation.settings.key_passphrase_text
    with RESTORE.steps(installation, actor, "keys", now=now), _change_key_file(file):
        keys = KeyRing.parse("the recovery copy", recovery_copy, passphrase)
        aside = None
        if file.exists():
            if not replace:
                raise InstallationError(
                    f"{file} already exists. To move it aside and use the recovery copy, add --replace."
                )
            with suppress(KeyFileError):  # an unreadable file has no keys to add
                keys = keys.joined_with(KeyRing.load(file, passphrase))
            aside = file.with_name(f"{file.name}.before-{now:%Y%m%dT%H%M%S}")
        with installation.read() as session:
            check_key_match(session, keys, every_row=True)
            lost_keys = _find_lost_keys(session, keys)
        if aside:
            os.link(file, aside)  # so that there's a key file at all times
        key_file.replace_file(file, keys.to_file_text(passphrase))
        return KeyRestoration(aside, lost_keys)


def _find_lost_keys(session: Session, keys: KeyRing) -> tuple[str, ...]:
    """Return the keys that are missing although the audit log says that they were created."""
    rotations = select(AuditEntry.subject).where(AuditEntry.act == ROTATE.name)
    rotation_rows = session.scalars(rotations.order_by(AuditEntry.id))
    present_keys = {f"{key.kind} {key.id}" for key in keys.all}
    return tuple(key for key in dict.fromkeys(rotation_rows) if key not in present_keys)


def list_unencrypted_key_files(installation: Installation) -> list[Path]:
    """Return the unencrypted key files that `restore_keys` moved aside.

    If the current key file isn't encrypted either, return an empty list.
    """
    file = installation.settings.key_file
    if not installation.keys.under_passphrase:
        return []
    return [
        aside
        for aside in sorted(file.parent.glob(f"{file.name}.before-*"))
        if not is_encrypted_text(aside.read_text("utf-8", "replace"))
    ]


def encrypt_key_file(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Encrypt the key file with the passphrase in the settings.

    Raises:
        NotPermittedError: the actor isn't an admin.
        InstallationError: no passphrase is set, or there's no key file or it can't be written.
        KeyFileError: the key file can't be used, or the passphrase doesn't decrypt it.
    """
    passphrase = installation.settings.key_passphrase_text
    if passphrase is None:
        raise InstallationError(
            "No passphrase is set. Set DIGEST_KEY_PASSPHRASE or the systemd credential digest.key-passphrase (see "
            "docs/keys.md), then run this command again."
        )
    _rewrite_key_file(installation, actor, PROTECT, passphrase, now)


def decrypt_key_file(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Store the key file unencrypted, so that anyone who can read the file can use the keys.

    Raises:
        NotPermittedError: the actor isn't an admin.
        InstallationError: there's no key file, or it can't be written.
        KeyFileError: the key file can't be used, or the passphrase doesn't decrypt it.
    """
    _rewrite_key_file(installation, actor, UNPROTECT, None, now)


def _rewrite_key_file(
    installation: Installation, actor: Actor, act: Action, new_passphrase: str | None, now: datetime
) -> None:
    file = installation.settings.key_file
    with act.steps(installation, actor, "keys", now=now), _change_key_file(file):
        _ = installation.keys  # raises an error if there's no key file, or if it doesn't belong to the database
        keys = KeyRing.load(file, installation.settings.key_passphrase_text)
        key_file.replace_file(file, keys.to_file_text(new_passphrase))


@contextmanager
def _change_key_file(file: Path) -> Iterator[None]:
    """Lock the key file for a change, and turn an `OSError` into an `InstallationError`."""
    try:
        with key_file.lock_file(file):
            yield
    except OSError as exc:
        raise InstallationError(f"Can't write {file}: {exc.strerror}. The file wasn't changed.") from exc

"""Logos that an admin uploads in a page: kept, and named in the settings."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime

from digest.app.settings.logos import KEEP, LogoRefusedError, store_logo
from digest.app.settings.setting_changes import change_settings
from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import Installation


def replace_logos(
    installation: Installation,
    actor: Actor,
    uploads: Mapping[str, tuple[str, bytes]],
    *,
    fingerprint: str,
    now: datetime,
) -> bool:
    """Keep uploaded pictures and name them in `[branding]`; say whether the settings changed.

    Args:
        installation: the installation whose settings stand in a file.
        actor: an admin.
        uploads: the name of its file and the bytes of each, by the setting that is to name it: `logo`, `logo_dark`.
        fingerprint: of the table that was shown.
        now: when it is done.

    Raises:
        NotPermittedError: the actor is no admin.
        LogoRefusedError: a picture cannot be the logo, or one of two is missing.
        SettingsConflictError: somebody else changed the table meanwhile.
        SettingsError: there is no settings file, or it cannot be written.
    """
    KEEP.check_role(installation.database, actor, "branding", now=now)
    branding = installation.settings.file.branding
    missing = [name for name in ("logo", "logo_dark") if name not in uploads and not getattr(branding, name)]
    if not uploads or missing:
        raise LogoRefusedError(
            "The logo wasn't changed because an image is missing. Choose one for light screens and one for dark "
            "screens (or the same file for both)."
        )
    names = {setting: name_uploaded_logo(file_name, body) for setting, (file_name, body) in uploads.items()}
    for setting, (_, body) in uploads.items():
        store_logo(installation, actor, names[setting], body, now=now)
    return change_settings(installation, actor, "branding", names, fingerprint=fingerprint, now=now)


def name_uploaded_logo(file_name: str, body: bytes) -> str:
    """Return the name under which an uploaded logo is kept: another picture has another, so that the settings alone decide which is shown.

    The name holds the whole hash of the file, so nobody can find another file with the same name.
    """
    stem = re.sub(r"[^A-Za-z0-9]+", "-", file_name.rpartition(".")[0] or file_name).strip("-")[:30] or "logo"
    return f"{stem}-{hashlib.sha256(body).hexdigest()}.png"

"""Execution of a setup plan: write the files, create missing keys and a missing database, and record the action."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from digest.app.setup.plan import SetupPlan, write_planned_files
from digest.deliver.compose.dkim import DkimError, DkimSigner, load_signer
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation, create_key_file, open_installation
from digest.settings import Settings, load_settings
from digest.settings.affected_areas import AffectedArea
from subscribers.crypto.keys import KeyRing
from subscribers.errors import ApplicationError

SET_UP = Action("set up", Role.ADMIN, AffectedArea.SENDER)
AUDIT_SUBJECT = "installation"


@dataclass(frozen=True, slots=True)
class SetupResult:
    """The result of a setup. `problem` says why keys and database couldn't be created; the files are written anyway."""

    settings: Settings
    new_keys: KeyRing | None = None
    signer: DkimSigner | None = None
    problem: str = ""


def require_setup_permission(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Check that the actor is an admin of the existing installation.

    Raises:
        NotPermittedError: they aren't; the refusal is in the audit log.
    """
    SET_UP.check_role(installation, actor, AUDIT_SUBJECT, now=now)


def apply_setup_plan(plan: SetupPlan, find_actor: Callable[[Installation], Actor], *, now: datetime) -> SetupResult:
    """Write the files of a plan and create keys and the database if missing. Idempotent.

    Raises:
        SetupError: a file can't be written.
        SettingsError: the new settings can't be used.
    """
    write_planned_files(plan)
    settings = load_settings(plan.settings_file, {})
    signer = load_dkim_signer_if_usable(settings)
    changed = [file.path.name for file in plan.files if file.change != "same"]
    try:
        with open_installation(settings, may_create=True) as installation:
            new_keys = create_key_file(installation)
            if changed:
                actor = find_actor(installation)
                with SET_UP.transaction(installation, actor, AUDIT_SUBJECT, now=now) as (_, draft):
                    draft.detail = {"files": changed}
    except ApplicationError as exc:
        return SetupResult(settings, signer=signer, problem=str(exc))
    return SetupResult(settings, new_keys, signer)


def load_dkim_signer_if_usable(settings: Settings) -> DkimSigner | None:
    """Return the email signer for its DNS records, or None if email isn't signed or the key file can't be used.

    The doctor reports an unusable key file.
    """
    try:
        return load_signer(settings)
    except DkimError:
        return None

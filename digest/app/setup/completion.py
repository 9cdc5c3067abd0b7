"""Carrying a setup plan out: the files are written, keys and database made where there are none, and the act recorded."""

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
    """What came of it. `problem` says why keys and database could not be made; the files are written all the same."""

    settings: Settings
    new_keys: KeyRing | None = None
    signer: DkimSigner | None = None
    problem: str = ""


def require_setup_permission(installation: Installation, actor: Actor, *, now: datetime) -> None:
    """Refuse who is no admin of the installation that is there.

    Raises:
        NotPermittedError: the actor is no admin; the refusal is in the audit log.
    """
    SET_UP.check_role(installation.database, actor, AUDIT_SUBJECT, now=now)


def apply_setup_plan(plan: SetupPlan, find_actor: Callable[[Installation], Actor], *, now: datetime) -> SetupResult:
    """Write the files of a plan, and make keys and database; repeating it changes nothing.

    Raises:
        SetupError: a file cannot be written.
        SettingsError: the settings that were written cannot be used.
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
    """Return what signs the mail, for its DNS records; None where nothing does, or the key file cannot be used (the doctor says why)."""
    try:
        return load_signer(settings)
    except DkimError:
        return None

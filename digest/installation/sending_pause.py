"""Pausing and resuming all sending.

This module imports quickly, because an emergency stop must be immediate.
"""

from datetime import datetime

from sqlalchemy import select

from digest.deliver.control import installation_hold
from digest.deliver.control.installation_hold import InstallationHold
from digest.deliver.send.claims.send_progress import forget_wait_reason
from digest.installation.action_reasons import read_optional_reason
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.models import Edition, EditionState

HOLD = Action("held")
RELEASE = Action("released")
INSTALLATION = "installation"  # the subject in the audit log of actions on all sending


def pause_all_sending(installation: Installation, *, reason: str, actor: Actor, now: datetime) -> InstallationHold:
    """Pause all sending, and return the pause.

    If sending is already paused, that pause is left unchanged.

    Raises:
        ReasonError: the reason is too long or may contain an address.
    """
    with HOLD.transaction(installation, actor, INSTALLATION, now=now) as (session, audit):
        reason = read_optional_reason(reason)
        audit.changed = installation_hold.pause_all_sending(session, reason, actor=actor.name, now=now)
        audit.detail = {"because": reason} if reason else {}
        hold = installation_hold.read_current_hold(session)
    assert hold is not None, "it was just written"
    return hold


def resume_all_sending(installation: Installation, *, actor: Actor, now: datetime) -> bool:
    """Resume all sending, and return False if it wasn't paused."""
    with RELEASE.transaction(installation, actor, INSTALLATION, now=now) as (session, audit):
        audit.changed = installation_hold.resume_all_sending(session)
        sending = select(Edition.name).where(Edition.state == EditionState.SENDING)
        for name in session.scalars(sending).all():
            forget_wait_reason(session, name, now=now)
    return audit.changed

"""The declarations of actions in `actions.toml`, the wording of actions, and the names of actors.

They're used on pages, in the audit log, and in emails to admins.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from digest.settings.guarded_areas import GuardedArea
from digest.store.staff import name_member_number

_SUBJECT = re.compile(r"\{(.*?)\}")
_LOG_ONLY = re.compile(r"\[.*?\]")
TERMINAL_PREFIX = "terminal:"  # of the names of terminal users in the audit log


class Role(StrEnum):
    """A role of an actor: admin, editor, or system.

    Admins may do everything that editors may.
    """

    EDITOR = "editor"
    ADMIN = "admin"
    # The scheduler and webhooks, which act according to an admin's settings.
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class ActionDeclaration:
    """The wording, required role, and guarded area that `actions.toml` declares for an action.

    `words` is its wording, `role` the role that it requires, and `area` the area that it affects.
    The last two are None if the action is only written to the log.
    """

    words: str
    role: Role | None = None
    area: GuardedArea | None = None


@cache
def load_actions_by_topic() -> Mapping[str, Mapping[str, ActionDeclaration]]:
    """Return the declarations of all actions, by topic and then by name in the audit log."""
    text = resources.files("digest.installation").joinpath("actions.toml").read_text("utf-8")
    return {
        topic: {name: _parse_declaration(**fields) for name, fields in actions.items()}
        for topic, actions in tomllib.loads(text).items()
    }


def _parse_declaration(words: str, role: str = "", area: str = "") -> ActionDeclaration:
    """Parse the declaration of an action in `actions.toml`.

    Raises:
        ValueError: there's no such role, or an area without a role.
        KeyError: there's no such area, or a role without an area.
    """
    if not role and not area:
        return ActionDeclaration(words)
    return ActionDeclaration(words, Role(role), GuardedArea[area.upper()])


@cache
def _actions_by_name() -> Mapping[str, ActionDeclaration]:
    return {name: action for actions in load_actions_by_topic().values() for name, action in actions.items()}


def find_action(act: str) -> ActionDeclaration | None:
    """Return the declaration of the action of this name, or None if there's none."""
    return _actions_by_name().get(act)


def find_action_words(act: str) -> str:
    """Return the wording of the action of this name, or an empty string if there's none."""
    declaration = find_action(act)
    return declaration.words if declaration else ""


def split_audit_phrase_at_subject(words: str) -> list[str]:
    """Split a wording at its subject, for the audit log.

    There are two parts, or only one if the wording doesn't include the subject.
    """
    unbracketed = words.replace("[", "").replace("]", "")
    return _SUBJECT.sub("{}", unbracketed).split("{}")


def format_action_for_email(words: str, subject: str = "") -> str:
    """Return a wording for an email, in which `subject` replaces `{}`."""
    return _SUBJECT.sub(lambda match: match[1] or subject, _LOG_ONLY.sub("", words))


def name_actor(actor: str, names: Mapping[str, str]) -> str:
    """Return an actor's name as colleagues see it: a display name, a terminal user's name, or a part of the product.

    `names` maps the actors on the staff to their display names.
    """
    if actor in names:
        return names[actor]
    if actor.startswith(TERMINAL_PREFIX):
        return f"{actor.removeprefix(TERMINAL_PREFIX)} (at a terminal)"
    return {"scheduler": "The scheduler", "digest": "A stop rule", "demo": "Demo"}.get(actor, name_member_number(actor))

"""What `actions.toml` declares of each action, and its wording in the audit log and in emails to admins."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from digest.settings.affected_areas import AffectedArea

_SUBJECT = re.compile(r"\{(.*?)\}")
_LOG_ONLY = re.compile(r"\[.*?\]")


class Role(StrEnum):
    """The permissions of an actor. Admins may do everything that editors may."""

    EDITOR = "editor"
    ADMIN = "admin"
    # The scheduler and webhooks, which act according to an admin's settings.
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class ActionDeclaration:
    """The wording of an action, and the required role and the affected area; None if it's only written to the log."""

    words: str
    role: Role | None = None
    area: AffectedArea | None = None


@cache
def load_actions_by_topic() -> Mapping[str, Mapping[str, ActionDeclaration]]:
    """Return the declaration of each action by topic and by its name in the audit log."""
    text = resources.files("digest.installation").joinpath("actions.toml").read_text("utf-8")
    return {
        topic: {name: _parse_declaration(**fields) for name, fields in actions.items()}
        for topic, actions in tomllib.loads(text).items()
    }


def _parse_declaration(words: str, role: str = "", area: str = "") -> ActionDeclaration:
    """Return an action's declaration.

    Raises:
        ValueError: there's no such role, or an area without one.
        KeyError: there's no such area, or a role without one.
    """
    if not role and not area:
        return ActionDeclaration(words)
    return ActionDeclaration(words, Role(role), AffectedArea[area.upper()])


@cache
def _actions_by_name() -> Mapping[str, ActionDeclaration]:
    return {name: action for actions in load_actions_by_topic().values() for name, action in actions.items()}


def find_action(act: str) -> ActionDeclaration | None:
    """Return the declaration of an action by its name; None if there's none."""
    return _actions_by_name().get(act)


def find_action_words(act: str) -> str:
    """Return the wording of an action by its name; empty if there's none."""
    declaration = find_action(act)
    return declaration.words if declaration else ""


def split_audit_phrase_at_subject(words: str) -> list[str]:
    """Split a wording at its subject for the audit log, into two parts, or one if it doesn't include the subject."""
    unbracketed = words.replace("[", "").replace("]", "")
    return _SUBJECT.sub("{}", unbracketed).split("{}")


def format_action_for_email(words: str, subject: str = "") -> str:
    """Return a wording for an email, with `subject` in place of `{}`."""
    return _SUBJECT.sub(lambda match: match[1] or subject, _LOG_ONLY.sub("", words))

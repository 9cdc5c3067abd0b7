"""What `actions.toml` declares of each action, and its wording in the audit log and in emails to admins."""

import re
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_SUBJECT = re.compile(r"\{(.*?)\}")
_LOG_ONLY = re.compile(r"\[.*?\]")


@dataclass(frozen=True, slots=True)
class ActionDeclaration:
    """The wording of an action and, if people can take it, the required role and the name of the affected area."""

    words: str
    role: str = ""
    area: str = ""


@cache
def actions_by_topic() -> Mapping[str, Mapping[str, ActionDeclaration]]:
    """Return the declaration of each action by topic and by its name in the audit log."""
    text = resources.files("digest.installation").joinpath("actions.toml").read_text("utf-8")
    return {
        topic: {name: ActionDeclaration(**fields) for name, fields in actions.items()}
        for topic, actions in tomllib.loads(text).items()
    }


def find_action(act: str) -> ActionDeclaration | None:
    """Return the declaration of an action by its name; None if there's none."""
    return ChainMap(*map(dict, actions_by_topic().values())).get(act)


def find_action_words(act: str) -> str:
    """Return the wording of an action by its name; empty if there's none."""
    declaration = find_action(act)
    return declaration.words if declaration else ""


def split_audit_phrase_at_subject(words: str) -> list[str]:
    """Split a wording at its subject for the audit log, into two parts, or one if it doesn't include the subject."""
    unbracketed = words.replace("[", "").replace("]", "")
    return _SUBJECT.sub("{}", unbracketed).split("{}")


def write_action_for_email(words: str, subject: str = "") -> str:
    """Return a wording for an email, with `subject` in place of `{}`."""
    return _SUBJECT.sub(lambda match: match[1] or subject, _LOG_ONLY.sub("", words))

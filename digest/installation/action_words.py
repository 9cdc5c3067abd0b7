"""The wording of each action, declared once in `actions.toml` for the audit log and for emails to admins."""

import re
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from functools import cache
from importlib import resources

_SUBJECT = re.compile(r"\{(.*?)\}")
_LOG_ONLY = re.compile(r"\[.*?\]")


@cache
def actions_by_topic() -> Mapping[str, Mapping[str, str]]:
    """Return the wording of each action by topic and by its name in the audit log."""
    return tomllib.loads(resources.files("digest.installation").joinpath("actions.toml").read_text("utf-8"))


def find_action_words(act: str) -> str:
    """Return the wording of an action by its name; empty if there's none."""
    return ChainMap(*map(dict, actions_by_topic().values())).get(act, "")


def split_audit_phrase_at_subject(words: str) -> list[str]:
    """Split a wording at its subject for the audit log, into two parts, or one if it doesn't include the subject."""
    unbracketed = words.replace("[", "").replace("]", "")
    return _SUBJECT.sub("{}", unbracketed).split("{}")


def write_action_for_email(words: str, subject: str = "") -> str:
    """Return a wording for an email, with `subject` in place of `{}`."""
    return _SUBJECT.sub(lambda match: match[1] or subject, _LOG_ONLY.sub("", words))

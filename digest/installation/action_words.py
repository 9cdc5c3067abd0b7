"""What each kind of act did, in words: one declaration (`actions.toml`) for the audit log and for emails to admins."""

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
    """Return, by topic, the words of each act by its name in the audit log."""
    return tomllib.loads(resources.files("digest.installation").joinpath("actions.toml").read_text("utf-8"))


def find_action_words(act: str) -> str:
    """Find the words of an act by its name; empty if there is none."""
    return ChainMap(*map(dict, actions_by_topic().values())).get(act, "")


def split_audit_phrase_at_subject(words: str) -> list[str]:
    """Split words at their subject, as the audit log shows them: in one part where they don't name it, else in two."""
    unbracketed = words.replace("[", "").replace("]", "")
    return _SUBJECT.sub("{}", unbracketed).split("{}")


def write_action_for_email(words: str, subject: str = "") -> str:
    """Write words as an email says them: `subject` takes the place of `{}`."""
    return _SUBJECT.sub(lambda match: match[1] or subject, _LOG_ONLY.sub("", words))

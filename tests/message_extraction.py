"""The messages in code and templates, extracted as `make messages` does."""

import tomllib
from functools import cache

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir

from tests.conftest import ROOT

FOLDERS = ("digest", "subscribers", "templates")


@cache
def extract_messages() -> Catalog:
    """Extract the messages of today; the mapping is the one of pyproject.toml."""
    mappings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["babel"]["mappings"]
    methods = [(mapping["pattern"], mapping["method"]) for mapping in mappings]
    options = {
        mapping["pattern"]: {name: value for name, value in mapping.items() if name not in {"pattern", "method"}}
        for mapping in mappings
    }
    catalogue, keywords = Catalog(), {**DEFAULT_KEYWORDS, "mark_message": None}
    for folder in FOLDERS:
        for file, line, message, comments, context in extract_from_dir(ROOT / folder, methods, options, keywords):
            catalogue.add(message, None, [(file, line)], auto_comments=comments, context=context)
    return catalogue


def message_key(message: Message) -> tuple[str | None, str | tuple[str, ...]]:
    """Return what a message is found by."""
    return message.context, message.id if isinstance(message.id, str) else tuple(message.id)

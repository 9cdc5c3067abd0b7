"""The built-in topics, read only once from `digest/topics.toml`."""

import tomllib
from functools import cache
from importlib import resources


@cache
def read_built_in_topics() -> tuple[dict[str, str], ...]:
    """Return the tables of the built-in topics, in order.

    Each table has a `name` and lists of words.
    """
    text = resources.files("digest").joinpath("topics.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["topic"])

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from digest.cli import digest

CONTEXT = click.Context(digest)


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """Name every command and every group of commands by its words."""
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(CONTEXT):
            below = command.get_command(CONTEXT, name)
            assert below is not None
            yield from commands(below, *path, name)


def is_group(words: tuple[str, ...]) -> bool:
    command: click.Command | None = digest
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(CONTEXT, word)
    return isinstance(command, click.Group)


@pytest.mark.parametrize("words", list(commands(digest)), ids=" ".join)
def test_help_shows_an_example_and_the_exit_codes(words: tuple[str, ...]) -> None:
    said = CliRunner().invoke(digest, [*words, "--help"])
    assert said.exit_code == 0
    assert f"\n  {' '.join(('digest', *words))}" in said.output or f" digest {' '.join(words)}" in said.output
    assert "Example" in said.output or not words
    assert re.search(r"Exit\s+codes:\s+0\s", said.output) or is_group(words)


def test_the_first_help_says_what_exit_codes_mean_everywhere() -> None:
    said = CliRunner().invoke(digest, ["--help"]).output
    assert re.search(r"Exit codes:\n +0 .*\n +1 .*\n +2 ", said)

"""Follow a finding's advice as an operator would: run its commands, and write its lines into the files it names."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.cli import digest
from digest.cli.context import CommandContext
from digest.deliver.providers.kind import DoctorFinding
from tests.moments import AFTER_RELEASE as NOW

END = r"(?=\. (?:[A-Z]|$)|\.?$|; |, then | and have )"  # of a command or a line
CHANGED_LINE = re.compile(rf"[Ii]n (?P<file>\S+), change line (?P<number>\d+) to: (?P<line>.+?){END}")
NEW_KEY = re.compile(rf"[Uu]nder \[(?P<table>\w+)\] in (?P<file>\S+), add: (?P<line>.+?){END}")
NEW_TABLE = re.compile(rf"[Aa]t the end of (?P<file>\S+), add \[(?P<table>\w+)\] and below it: (?P<line>.+?){END}")
VARIABLES = re.compile(
    rf"(?:, add: |\(line \d+\) to: |, set |, )(?:and )?(?P<name>DIGEST_\w+)=(?P<value>.+?)(?=, (?:and )?DIGEST|{END[3:]}"
)
SHELL = re.compile(
    r"(?:[Rr]un|[Rr]un as root|create new keys|[Mm]ake a new key): (?P<command>.+?)(?=\. (?:[A-Z]|$)|\.?$)"
)
QUOTED_COMMAND = re.compile(r"'(?P<command>digest [^']+)'")
NAMED_COMMAND = re.compile(r": (?P<command>digest [a-z][^.:']*?)(?=\. |\.?$)")
RECORDER = """#!/bin/sh
printf '%s\\n' "$*" >> "$RECORDED_COMMANDS"
"""


def run_digest(environ: dict[str, str], *words: str, typed: str = "", exit_codes: Sequence[int] = (0,)) -> str:
    """Run a command of ours at the moment of the tests, and return what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.setattr(CommandContext, "now", lambda *_: NOW)
        result = CliRunner().invoke(digest, words, input=typed)
    assert result.exit_code in exit_codes, (words, result.output, result.exception)
    return result.output


def run_shell(environ: dict[str, str], folder: Path, command: str) -> list[list[str]]:
    """Run a shell's line, and return the commands of ours in it, which are left to `run_digest`."""
    (folder / "digest").write_text(RECORDER)
    (folder / "digest").chmod(0o700)
    recorded = folder / "recorded"
    recorded.write_text("")
    path = os.pathsep.join((str(folder), str(Path(sys.executable).parent), os.environ["PATH"]))
    subprocess.run(
        command, shell=True, check=True, env=os.environ | environ | {"PATH": path, "RECORDED_COMMANDS": str(recorded)}
    )
    return [shlex.split(line) for line in recorded.read_text().splitlines()]


def drop_alternatives(text: str) -> str:
    """Return the first way of several."""
    return text.partition(". Or ")[0]


def list_commands(finding: DoctorFinding, only: str) -> Iterator[str]:
    """List the commands that a finding names, in their order; `only` chooses among alternatives."""
    text = drop_alternatives(finding.sentence)
    found = {
        m.start("command"): m["command"] for rule in (SHELL, QUOTED_COMMAND, NAMED_COMMAND) for m in rule.finditer(text)
    }
    for _, command in sorted(found.items()):
        if only in command:
            yield command


def follow_file_changes(finding: DoctorFinding, replaced: dict[str, str]) -> int:
    """Write the lines that a finding names into their files, and return how many."""
    text, count = drop_alternatives(finding.remedy), 0
    for shown, meant in replaced.items():
        text = text.replace(shown, meant)
    for change in CHANGED_LINE.finditer(text):
        file = Path(change["file"])
        lines = file.read_text().splitlines()
        lines[int(change["number"]) - 1] = change["line"]
        file.write_text("\n".join([*lines, ""]))
        count += 1
    for change in NEW_KEY.finditer(text):
        file = Path(change["file"])
        header = f"[{change['table']}]\n"
        assert header in file.read_text()
        file.write_text(file.read_text().replace(header, f"{header}{change['line']}\n", 1))
        count += 1
    for change in NEW_TABLE.finditer(text):
        file = Path(change["file"])
        file.write_text(f"{file.read_text()}\n[{change['table']}]\n{change['line'].replace(' and ', chr(10))}\n")
        count += 1
    return count


def read_variable_changes(finding: DoctorFinding, replaced: dict[str, str]) -> dict[str, str]:
    """Return the variables that a finding wants in digest.env."""
    text = drop_alternatives(finding.remedy)
    for shown, meant in replaced.items():
        text = text.replace(shown, meant)
    if "digest.env" not in text:
        return {}
    return {change["name"]: change["value"].strip("'") for change in VARIABLES.finditer(text)}

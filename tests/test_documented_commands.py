"""Every command in a code block of the docs is accepted as written, and a test runs it with its options. Those in sentences exist."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from digest.cli import digest
from tests.conftest import ROOT

DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
GENERATED = {"soak.md", "benchmarks.md"}  # results; their commands are those of `make soak` and `make bench`
CODE_LINE = re.compile(r"(?m)^ {4,}(\S.*)$")
FENCE = re.compile(r"(?ms)^```(?:sh|text|console|bash)?\n(.*?)^```$")
INLINE = re.compile(r"[`'](digest [^`']+)[`']")
PLACEHOLDERS = {"…", "COMMAND"}  # of the rest of a command, and of any command
COMMENT = re.compile(r" {2,}\S.*|\s#.*")  # beside a command
SEPARATOR = re.compile(r"&&|\|\||;|(?<!\|)\|(?!\|)")
ASSIGNMENT = re.compile(r"[A-Z_]+=")
# Programs beside `digest`, and what tries them. None: they change the system, so nothing here may.
OTHER_PROGRAMS: dict[str, str | None] = {
    "make": "Makefile",
    ".ci/run": ".ci/run",
    "python": "tests/test_documented_commands.py",
    "rclone": "tests/backups/test_backups_in_s3.py",
    "restic": "tests/backups/test_backups_in_s3.py",
    "pip": ".ci/run",
    "python3": ".ci/run",
    "nginx": "tests/tools/walk_setup.py",
    "sed": "tests/tools/walk_setup.py",
    "createdb": None,
    "pipx": None,
    "systemd-ask-password": None,
    "systemd-creds": None,
    "systemctl": None,
    "journalctl": None,
    "ln": None,
    "useradd": None,
    "certbot": None,
    "docker": None,
    "install": None,
    "chown": None,
}
CHECKED_TYPES = (
    click.Choice,
    click.DateTime,
    click.types.IntParamType,
    click.types.FloatParamType,
)  # others need files
SHELL_WORDS = {"cd", "echo", "export", "cp", "mkdir", "cat", "umask", "mv", "touch", "chmod"}
RUN_HERE = {"staff role", "staff reset", "subscribers export-suppressions", "subscribers adopt-suppressions"}
PASSPHRASE = "a rather long passphrase"


class DocumentedCommand(NamedTuple):
    """A command as a document shows it; `words` begin with the program."""

    document: str
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return self.words[0].rpartition("/")[2] if self.words[0] != ".ci/run" else self.words[0]


def read_commands(document: Path) -> Iterator[DocumentedCommand]:
    """Read the commands in a document's code blocks."""
    text = re.sub(r"\\\n *", "", document.read_text("utf-8"))  # lines that go on
    blocks = FENCE.findall(text)
    lines = [*CODE_LINE.findall(re.sub(r"(?ms)^```.*?^```$", "", text)), *"\n".join(blocks).splitlines()]
    known = {"digest", *OTHER_PROGRAMS, *SHELL_WORDS}
    for line in lines:
        for part in SEPARATOR.split(COMMENT.sub("", line.strip())):
            try:
                words = shlex.split(part.partition(" > ")[0])
            except ValueError:
                continue  # a line of a file, or a sentence
            while words and ASSIGNMENT.match(words[0]):
                words.pop(0)
            command = DocumentedCommand(document.name, tuple(words)) if words else None
            if command and command.program in known:
                yield command


@cache
def list_commands() -> list[DocumentedCommand]:
    found = [command for file in DOCUMENTS if file.name not in GENERATED for command in read_commands(file)]
    return list(dict.fromkeys(found))


def own_commands() -> list[DocumentedCommand]:
    return [command for command in list_commands() if command.program == "digest" and len(command.words) > 1]


def find_command(words: tuple[str, ...]) -> tuple[click.Command, list[str], list[str]]:
    """Return the command that words begin with, its names, and the arguments after it."""
    command: click.Command = digest
    names, rest = [], [word.strip("[]") for word in words[1:]]
    while isinstance(command, click.Group) and rest:
        if rest[0] in {"--settings", "--as"}:  # the options that are written before the command
            del rest[:2]
            continue
        if rest[0].startswith("-"):
            break
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"{' '.join(words)}: there's no command {rest[0]}"
        command = found
        names.append(rest.pop(0))
    return command, names, rest


@pytest.mark.parametrize("command", own_commands(), ids=lambda c: f"{c.document}: {' '.join(c.words)}")
def test_a_documented_command_is_accepted_as_it_is_written(command: DocumentedCommand) -> None:
    found, names, arguments = find_command(command.words)
    assert not isinstance(found, click.Group)
    assert [word for word in arguments if word.startswith("-") and word not in {"-", *option_names(found)}] == []
    context = click.Context(found, info_name=names[-1])
    values, _, _ = found.make_parser(context).parse_args(arguments)
    for parameter in found.params:
        value = values.get(str(parameter.name))
        assert value is not None or not parameter.required, parameter.name
        if value is not None and isinstance(parameter.type, CHECKED_TYPES):
            parameter.type_cast_value(context, value)


def test_each_command_in_a_sentence_exists_and_has_its_options() -> None:
    found = {code for file in DOCUMENTS for code in INLINE.findall(FENCE.sub("", file.read_text("utf-8")))}
    unknown = []
    for code in sorted(found):
        words = tuple(word for word in shlex.split(code) if word not in PLACEHOLDERS)
        command, _, arguments = find_command(words)
        options = {word.strip("[]").partition("=")[0] for word in arguments if word.startswith(("-", "[-"))}
        unknown += [code] if options - {"-", *option_names(command)} else []
    assert len(found) > 100
    assert unknown == []


def option_names(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@cache
def read_tests() -> dict[str, str]:
    """Return the texts of all tests, and of the tools that .ci/run runs, with string literals next to each other joined."""
    files = [file for file in ROOT.glob("tests/**/*.py") if file.name != Path(__file__).name]
    return {
        file.relative_to(ROOT).as_posix(): re.sub(r'",\s*"', " ", file.read_text("utf-8"))
        for file in [*files, ROOT / ".ci" / "run"]
    }


def is_run(names: list[str], options: list[str], text: str) -> bool:
    """Whether a test runs a command with its options, by all its names or by a helper that adds the first ones."""
    called = rf"[\"' (]{re.escape(' '.join(names))}[\"' ,)]"
    if len(names) == 2:
        called = rf"{called}|\b_?run\(\"{names[1]}[\"' ]"
    return re.search(called, text) is not None and all(option in text for option in options)


def test_each_documented_command_is_run_by_a_test_with_its_options() -> None:
    untested = []
    for command in own_commands():
        _, names, arguments = find_command(command.words)
        options = [word for word in arguments if word.startswith("--")]
        is_tested = any(is_run(names, options, text) for text in read_tests().values())
        if not is_tested and " ".join(names) not in RUN_HERE:
            untested.append(" ".join(command.words))
    assert untested == []


def test_commands_that_no_other_test_runs_work_as_documented(initialized_home: Path) -> None:
    """With a passphrase for whatever asks for one."""
    assert initialized_home.is_dir()
    typed, ran = 2 * f"{PASSPHRASE}\n" + "y\n", set()
    CliRunner().invoke(digest, ["staff", "add", "sam@news.example.org", "--role", "editor"])
    for command in own_commands():
        name = " ".join(find_command(command.words)[1])
        if name in RUN_HERE:
            done = CliRunner().invoke(digest, command.words[1:], input=typed)
            assert done.exit_code == 0, (command, done.output, done.exception)
            ran.add(name)
    assert ran == RUN_HERE


def test_the_test_of_every_other_documented_program_is_there_and_runs_it() -> None:
    used = {command.program for command in list_commands()} - {"digest", *SHELL_WORDS}
    for program in sorted(used):
        place = OTHER_PROGRAMS[program]
        if place and program not in {"make", "python", ".ci/run"}:
            assert program in (ROOT / place).read_text("utf-8"), f"{place} doesn't run {program}"


def test_documented_targets_and_modules_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8")))
    for command in list_commands():
        if command.program == "make":
            assert targets.issuperset(command.words[1:]), command
        if command.program == "python" and "-m" in command.words:
            module = command.words[command.words.index("-m") + 1]
            if module not in {"pytest", "venv"}:
                assert (ROOT / f"{module.replace('.', '/')}.py").exists(), command

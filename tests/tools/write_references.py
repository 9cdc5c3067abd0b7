"""Write the pages generated from the code's own texts: `docs/commands.md` and `docs/doctor.md`."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from digest.app.doctor import examination, received_message
from digest.app.doctor.check_registry import DoctorCheck
from digest.app.setup.answers import QUESTIONS
from digest.cli import digest
from subscribers.english_text import QUOTED_CODE, join_words
from tests.conftest import ROOT

COMMANDS_PAGE, DOCTOR_PAGE = ROOT / "docs" / "commands.md", ROOT / "docs" / "doctor.md"
_CODE = re.compile(
    rf"""{QUOTED_CODE.pattern}"""
    r"""|(?P<bare>\bDIGEST_[A-Z_]+\b|(?<![\w-])--[a-z][\w-]*|(?<=:\ )(?:digest|chmod|chown|timedatectl)\ [\w :-]+(?=\.|$))"""
)
# Described once, in the head.
_COMMON = re.compile(
    r"Don't ask for confirmation\.|Print [^.]* as JSON\.|Reason, recorded in the [a-z ]+\. No names or email addresses\."
)
# Described in the tutorial, with an example of each.
_ANSWERS = {f"{question.text}." for question in QUESTIONS}
_ANSWERS_LINE = "- {}: Answers, as in the [answers file](setup.md#answer-from-a-file)."
_COMMANDS_HEAD = """\
# Commands

For examples and exit codes, run `digest COMMAND --help`. In general, 0 means done, 1 means refused or unfinished, or that a check found
errors, and 2 means wrong usage or a problem to fix first.

`digest --settings FILE` names the settings file (default: `DIGEST_SETTINGS`, then `./digest.toml`). `digest --as EMAIL` acts as that team
member. `hls-scheduler [SETTINGS-FILE]` only runs scheduled jobs.

Many commands have `--json`, which prints the result as JSON, and `--yes`, which skips the confirmation. Some require `--reason TEXT` for the
ledger or the audit log. Don't include names or email addresses.
"""
_DOCTOR_HEAD = """\
# Doctor checks

`digest doctor` checks an installation without changing it, except that sending is paused on a [copy](maintenance.md#copies). Fix each
**error**, review each **warning**, and run it again, because some problems hide others. The exit code is 1 for errors, and 2 if the checks
couldn't run. Scripts can rely on the checks' names (`--json`).

With `--online`, it also checks DNS, mail servers (without sending email), the provider, and your public pages. To see a DNS change sooner,
add `--name-server` with the zone's own name server.

To check a received email, save it with all headers, and run `digest doctor received.eml --trust mx.google.com` with your mailbox
provider's name, because headers can be forged. These checks are named `received-…`.

Entries say what a passed check means and how to fix a failed one. If no fix is listed, the result says what to do.
`journalctl -u digest` shows the service's log.
"""
# Also said in the head.
_LOG_COMMAND = re.compile(r" \(journalctl -u digest\)")


def list_commands(command: click.Command, path: tuple[str, ...] = ("digest",)) -> Iterator[tuple[str, click.Command]]:
    """Name every command below `command` by its words, groups included."""
    if len(path) > 1:
        yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from list_commands(below, (*path, name))


def mark_code(text: str) -> str:
    """Mark commands, options, and variables in a sentence as code, unless they are."""
    return _CODE.sub(
        lambda match: f"`{match['quoted'] or match['bare']}`" if match["quoted"] or match["bare"] else match[0], text
    )


def write_commands() -> str:
    """Return the text of `docs/commands.md`."""
    return "\n".join([_COMMANDS_HEAD, *(_write_command(words, command) for words, command in list_commands(digest))])


def write_doctor() -> str:
    """Return the text of `docs/doctor.md`."""
    by_name: list[dict[str, DoctorCheck[Any]]] = [{**examination.list_checks()}, {**received_message.MESSAGE_CHECKS}]
    # Registration follows the order of imports, so it isn't the same in each process.
    checks = [check for registry in by_name for _, check in sorted(registry.items())]
    return "\n".join([_DOCTOR_HEAD, *map(_write_check, checks)])


def _write_check(check: DoctorCheck[Any]) -> str:
    paragraphs = (f"{check.meaning}.", _LOG_COMMAND.sub("", check.remedy))
    return "\n".join([f"## {check.name}\n", *(f"{_wrap(mark_code(text))}\n" for text in paragraphs if text)])


def _write_command(words: str, command: click.Command) -> str:
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    usage = f"`{' '.join([words, *arguments])}`: " if arguments else ""
    summary = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    common = [f"`{option.opts[0]}`" for option in options if _COMMON.fullmatch(option.help or "")]
    answers = [f"`{option.opts[0]}`" for option in options if option.help in _ANSWERS]
    described = [o for o in options if o.help not in _ANSWERS and not _COMMON.fullmatch(o.help or "")]
    own = "".join(_write_option(option, command) for option in described)
    own += f"{_wrap(_ANSWERS_LINE.format(join_words(answers)), indent='  ')}\n" if answers else ""
    parts = (
        f"{'#' * len(words.split())} {words}\n",
        f"{_wrap(usage + mark_code(summary))}\n",
        own,
        f"Also {' and '.join(common)}.\n" if common else "",
    )
    return "\n".join(filter(None, parts))


def _write_option(option: click.Option, command: click.Command) -> str:
    names, description = option.get_help_record(click.Context(command)) or ("", "")
    names = names.replace(" RANGE", "").replace(", ", "`, `")
    description = re.sub(r"\[(default: .+); .*<?=?x<?=?.*\]", r"[\1]", " ".join(description.split()))
    return f"{_wrap(f'- `{names}`: {mark_code(description)}', indent='  ')}\n"


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


if __name__ == "__main__":
    COMMANDS_PAGE.write_text(write_commands(), "utf-8")
    DOCTOR_PAGE.write_text(write_doctor(), "utf-8")

"""The `digest setup` command: the questions, the resulting files, and the remaining steps."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from digest.app.setup import answers as setup_answers
from digest.app.setup.answers import QUESTIONS, SetupAnswers, SetupError, SetupQuestion
from digest.app.setup.completion import (
    apply_setup_plan,
    list_remaining_steps,
    load_dkim_signer_if_usable,
    require_setup_permission,
)
from digest.app.setup.plan import PlannedFile, SetupPlan, find_locked_folder, plan_setup
from digest.cli.context import FILE_PATH, CommandContext, drop_root_privileges, flag, pass_command_context, yes_option
from digest.cli.upkeep.keys import print_recovery_copy
from digest.deliver.providers.setup_questions import SetupStep
from digest.settings import SETTINGS_FILE_NAME, Settings, load_settings

_WORDS_BY_CHANGE = {"new": "new", "changed": "changed", "same": "unchanged"}


def _answer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every question except secrets.

    Secrets aren't options because command lines are kept in the shell's history.
    """
    for question in reversed(QUESTIONS):
        if not question.is_secret:
            name = f"--{question.key.replace('_', '-')}"
            command = click.option(name, question.key, metavar="TEXT", help=f"{question.text}.")(command)
    return command


@click.command(
    epilog="""\b
Examples:
  digest setup --folder /srv/digest                    asks questions, then shows and confirms changes
  digest setup --folder /srv/digest --dry-run          only shows what would change
  digest setup --folder /srv/digest --batch --answers answers.toml

\b
Answers come from the options, then --answers, then the existing settings. You're asked for the rest. Passwords and API keys
come from the answers file (mode 0600) or are typed, never from an option.

\b
Exit codes:
  0  files written, or no changes needed
  1  you answered no; or the files are written, but the database isn't responding
  2  an answer is missing or invalid (no files written)"""
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Installation folder. [default: the settings file's folder, else the current one]",
)
@click.option("--answers", "answers_file", type=FILE_PATH, help="TOML file with answers.")
@flag("--batch", help="Don't ask. Settings without an answer aren't changed.")
@flag("--dry-run", help="Show what would change, without changing it.")
@yes_option("Don't ask for confirmation before writing files.")
@_answer_options
@pass_command_context
def setup(
    context: CommandContext,
    /,
    folder: Path | None,
    answers_file: Path | None,
    batch: bool,
    dry_run: bool,
    yes: bool,
    **options: str | None,
) -> None:
    """Set up an installation, or change its setup (settings, keys, database, service, and web server).

    This writes digest.toml, digest.env (paths and secrets), and a DKIM key. In deploy/, it writes a systemd unit,
    configurations for nginx and Caddy, a container file, and a compose file. At the end, it lists your next steps.
    """
    settings_file = _find_settings_file(context, folder)
    drop_root_privileges(settings_file.parent)
    settings = load_settings(settings_file, may_be_missing=True)
    if context.acting_email is not None:
        context.act(require_setup_permission, now=context.now())
    given_answers = _read_given_answers(answers_file, options)
    answers = _complete_answers(given_answers, settings, settings_file, batch=batch)
    plan = plan_setup(settings_file.parent, settings_file, answers, settings)
    for planned in plan.files:
        _show_planned_file(planned, plan)
    if locked := find_locked_folder(plan.folder):
        click.echo(
            f"The service's user can't enter {locked}, so install Python and this program elsewhere, then run setup again.",
            err=True,
        )
    is_changed = any(planned.change != "same" for planned in plan.files)
    if dry_run:
        click.echo("No files were written." if is_changed else "No changes are needed.")
        _show_steps(list_remaining_steps(plan, load_dkim_signer_if_usable(settings)))
        return
    if is_changed and not (yes or batch):
        click.confirm("Write these changes?", abort=True, default=True)
    result = apply_setup_plan(plan, context.identify_actor, now=context.now())
    keys = result.new_keys.to_json() if result.new_keys else None
    print_recovery_copy(result.settings.key_file, keys, is_secret=batch)  # the output of a script may be logged
    _show_steps(list_remaining_steps(plan, result.signer, result.problem))
    if result.problem:
        raise SystemExit(1)


def _read_given_answers(answers_file: Path | None, options: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the answers given in options and in a file.

    Options take precedence over the file.
    """
    file_answers = setup_answers.read_answers_file(answers_file) if answers_file else {}
    option_answers = {key: text for key, text in options.items() if text is not None}
    return file_answers | {key: setup_answers.check_answer(key, text) for key, text in option_answers.items()}


def _find_settings_file(context: CommandContext, folder: Path | None) -> Path:
    in_environment = os.environ.get("DIGEST_SETTINGS")
    chosen_file = context.settings_file or (Path(in_environment) if in_environment else None)
    if chosen_file and folder and chosen_file.resolve().parent != folder.resolve():
        raise SetupError(f"{chosen_file} isn't in {folder}. Leave out --folder or --settings.")
    file = (chosen_file or (folder or Path.cwd()) / SETTINGS_FILE_NAME).resolve()
    is_new = not file.parent.exists()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as exc:
        raise SetupError(f"Can't create {file.parent}: {exc.strerror}. Choose another folder with --folder.") from exc
    if is_new:
        click.get_current_context().call_on_close(partial(_remove_if_empty, file.parent))
    return file


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that was created for a setup that then didn't write any files."""
    with suppress(OSError):
        folder.rmdir()


def _complete_answers(
    given_answers: Mapping[str, Any], settings: Settings, settings_file: Path, *, batch: bool
) -> SetupAnswers:
    """Return complete answers after asking for those that aren't given.

    The answers of the existing installation are the defaults.
    """
    present = setup_answers.read_present_answers(settings) if settings_file.exists() else {}
    if batch:
        return setup_answers.complete_answers(given_answers, present)
    answers: dict[str, Any] = dict(given_answers)
    for question in QUESTIONS:
        if question.key not in given_answers and question.is_asked(answers):
            present_answer = present.get(question.key)
            proposed = (
                setup_answers.propose_answer(question.key, answers) if present_answer in {None, ""} else present_answer
            )
            answers[question.key] = _ask_question(question, proposed)
    return setup_answers.complete_answers(answers, {})


def _ask_question(question: SetupQuestion, proposed: Any) -> Any:
    """Ask a question until the answer is valid.

    If it's about a secret, an empty answer keeps the existing value.
    """
    while True:
        text = click.prompt(
            question.text + _describe_empty_answer(question, proposed),
            default="" if question.is_secret else proposed,
            hide_input=question.is_secret,
            show_default=not question.is_secret,
        )
        answer = proposed or "" if question.is_secret and not text else text
        try:
            return setup_answers.check_answer(question.key, answer)
        except SetupError as exc:
            click.echo(str(exc), err=True)
            if not sys.stdin.isatty() and not text:
                raise


def _describe_empty_answer(question: SetupQuestion, proposed: Any) -> str:
    """Return the effect of an empty answer, if it doesn't accept the default."""
    if question.is_secret:
        return " (leave empty to keep the current value)" if proposed else ""
    return " (required)" if proposed is None else ""


def _show_planned_file(planned: PlannedFile, plan: SetupPlan) -> None:
    is_inside = planned.path.is_relative_to(plan.folder)
    click.echo(
        f"{_WORDS_BY_CHANGE[planned.change]:8} {planned.path.relative_to(plan.folder) if is_inside else planned.path}"
    )
    for line in planned.show_difference():
        click.echo(f"         {line}")


def _show_steps(steps: Iterable[SetupStep]) -> None:
    click.echo("\nNext steps:")
    for number, step in enumerate(steps, 1):
        click.echo("")
        click.echo(
            textwrap.fill(
                step.title,
                100,
                initial_indent=f"{number:2}. ",
                subsequent_indent="    ",
                break_on_hyphens=False,
                break_long_words=False,
            )
        )
        for line in step.lines:
            click.echo(f"      {line}")

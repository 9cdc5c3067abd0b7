"""The context of all commands: settings, installation, actor, and time.

Heavy modules are imported where they're first needed, because `digest --version` doesn't open
anything.
"""

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from digest.cli.lazy_group import RUNNING_AS, CommandRefusedError
from digest.folder_owner import continue_as_owner
from subscribers.errors import RefusalError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from digest.installation.audited_actions import Actor
    from digest.installation.opened_installation import Installation
    from digest.settings import Settings
    from subscribers.address import Address


Arguments = ParamSpec("Arguments")
Outcome = TypeVar("Outcome")


def parse_moment(text: str) -> datetime:
    """Parse a time such as 2026-11-19T17:30.

    A time without a zone is in the publication's time zone.

    Raises:
        click.BadParameter: it isn't an ISO 8601 time.
    """
    from dateutil.parser import isoparse

    try:
        return isoparse(text.strip())
    except ValueError as exc:
        raise click.BadParameter(
            f"{text!r} isn't a date and time. Enter one such as 2026-11-19T17:30 or 2026-11-19T22:30Z."
        ) from exc


MOMENT = click.types.FuncParamType(parse_moment)
MOMENT.name = "moment"  # as shown by --help


@dataclass(frozen=True)
class CommandContext:
    """The context of one run of the command line.

    The settings and the database are opened when they're first needed. `settings_file` is the value
    of `--settings`, and `acting_email` is the value of `--as`.
    """

    settings_file: Path | None = None
    acting_email: str | None = None

    @cached_property
    def settings(self) -> "Settings":
        """The validated settings.

        When they're first read, a process run by root continues as the installation's owner.

        Raises:
            SettingsError: the settings are invalid. The message lists all problems.
            FolderOwnerError: root can't continue as the owner.
        """
        from digest.settings import load_settings

        settings = load_settings(self.settings_file)
        drop_root_privileges(settings.home)
        return settings

    def load_exposed_settings(self) -> None:
        """Load the settings even if other users can read `digest.env`.

        This is for a command that reports the problem.
        """
        from digest.settings import load_settings

        settings = load_settings(self.settings_file, may_be_exposed=True)
        drop_root_privileges(settings.home)
        vars(self)["settings"] = settings

    @property
    def installation(self) -> "Installation":
        """The installation, with its database schema upgraded if necessary.

        It's closed when the command ends.

        Raises:
            InstallationError: the installation's folder or database is unavailable.
            UnknownStaffError: no staff member has the address in `--as`.
        """
        return self._opened[0]

    @property
    def installation_without_upgrade(self) -> "Installation":
        """The installation, without a schema upgrade, for read-only commands.

        Raises:
            InstallationError: the installation's folder or database is unavailable, or the schema is older
                than this version's.
            UnknownStaffError: no staff member has the address in `--as`.
        """
        return self._open(may_migrate=False)[0]

    @property
    def actor(self) -> "Actor":
        """The staff member given by `--as`, or else the user of the terminal."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> "tuple[Installation, Actor]":
        """The installation, opened once, and the actor of the command.

        If the actor is unknown, the installation can't be used.
        """
        return self._open()

    def _open(self, *, may_migrate: bool = True) -> "tuple[Installation, Actor]":
        from digest.installation.opened_installation import open_installation

        opened = open_installation(self.settings, may_migrate=may_migrate)
        installation = click.get_current_context().find_root().with_resource(opened)
        return installation, self.identify_actor(installation)

    def act(
        self,
        action: "Callable[Concatenate[Installation, Actor, Arguments], Outcome]",
        *args: "Arguments.args",
        **kwargs: "Arguments.kwargs",
    ) -> "Outcome":
        """Call an action of `digest.app` with the installation and the actor, and return its result."""
        return action(self.installation, self.actor, *args, **kwargs)

    def refuse_unknown_actor(self) -> None:
        """Check the address in `--as`, for commands that otherwise don't need an installation.

        Raises:
            UnknownStaffError: no staff member has the address.
        """
        if self.acting_email is not None:
            _ = self.actor

    @property
    def terminal(self) -> "Actor":
        """The user of the terminal as an actor."""
        from digest.installation.audited_actions import make_terminal_actor

        return make_terminal_actor(find_system_user())

    def identify_actor(self, installation: "Installation") -> "Actor":
        """Return the actor for an installation.

        Raises:
            UnknownStaffError: no staff member has the address in `--as`. The audit log records the
                attempt.
        """
        from digest.installation.audited_actions import identify_staff

        if self.acting_email is None:
            return self.terminal
        return identify_staff(
            installation.database,
            self.acting_email,
            claimant=self.terminal,
            subject=click.get_current_context().command_path,
            now=self.now(),
        )

    @staticmethod
    def now() -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def moment_or_now(self, moment_option: datetime | None) -> datetime:
        """Return the given time in UTC, or the current time if none was given."""
        return self.moment_or_none(moment_option) or self.now()

    def moment_or_none(self, moment_option: datetime | None) -> datetime | None:
        """Return the given time in UTC, or None if none was given."""
        if moment_option is not None and moment_option.tzinfo is None:
            moment_option = moment_option.replace(tzinfo=self.settings.zone)
        return moment_option and moment_option.astimezone(UTC)


def drop_root_privileges(folder: Path) -> None:
    """Continue as the owner of an installation's folder if the process is run by root, and say so.

    Raises:
        FolderOwnerError: the process can't continue as the owner.
    """
    if name := continue_as_owner(folder):
        click.get_current_context().meta[RUNNING_AS] = name
        click.echo(f"Running as {name}, the owner of {folder}", err=True)


pass_command_context = click.make_pass_decorator(CommandContext)


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print a value as JSON, with times in ISO 8601.

    With an indent, the output is for people, so non-ASCII text isn't escaped.
    """
    ascii_only = indent is None
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=methodcaller("isoformat"))
    click.echo(text)


def pick_json_fields(value: object, *names: str, **paths: str) -> dict[str, Any]:
    """Return a dictionary of some attributes of a value, for `--json`.

    `names` are attributes that keep their names. `paths` maps names to paths such as
    `release.deadline`.
    """
    path_by_name = dict(zip(names, names, strict=True)) | paths
    return {key: attrgetter(path)(value) for key, path in path_by_name.items()}


def print_lines(lines: "Iterable[RenderableType]") -> None:
    """Print sentences and tables."""
    for line in lines:
        if isinstance(line, str):
            click.echo(line)
        else:
            from digest.cli.terminal import make_table_console

            make_table_console().print(line)


def print_result(
    result: object, lines: "Iterable[RenderableType]", *, as_json: bool, indent: int | None = None
) -> None:
    """Print a result as JSON if `as_json` is true, or else as lines of text."""
    if as_json:
        print_json(result, indent=indent)
    else:
        print_lines(lines)


def context_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--settings` and `--as` to a group.

    The commands in the group then receive a `CommandContext`.
    """

    @click.option(
        "--settings", "file", type=FILE_PATH, help="Settings file. [default: DIGEST_SETTINGS, else ./digest.toml]"
    )
    @click.option("--as", "email", metavar="EMAIL", help="Act as this team member. [default: terminal:USER]")
    @click.pass_context
    def begin(context: click.Context, /, file: Path | None, email: str | None, **others: Any) -> Any:
        if email and "@" not in email:
            raise click.BadParameter("Enter a team member's email address.", param_hint="--as")
        context.obj = CommandContext(file, email)
        return context.invoke(command, **others)

    begin.__doc__ = command.__doc__
    begin.__name__ = command.__name__
    return begin


def find_system_user() -> str:
    """Return the name of the user that runs this process.

    If the user has no name, as in containers, return the user ID.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def check_reason(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Return a reason for an action if it can be stored.

    It's stored in consent records and the audit log, so it must not contain an address.
    """
    from digest.installation.action_reasons import ReasonError, read_reason

    try:
        return None if text is None else read_reason(text)
    except ReasonError as exc:
        raise click.BadParameter(str(exc)) from None


flag = partial(click.option, is_flag=True)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FILE_PATH = click.Path(dir_okay=False, path_type=Path)
edition_argument = click.argument("edition", default="current")


def json_option(help_text: str) -> Callable[..., Any]:
    """Return the `--json` option, which prints a result as JSON, with the given help text."""
    return flag("--json", "as_json", help=help_text)


def yes_option(help_text: str = "Don't ask for confirmation.") -> Callable[..., Any]:
    """Return the `--yes` option, which skips a confirmation, with the given help text."""
    return flag("--yes", help=help_text)


because_option = click.option(
    "--because", callback=check_reason, help="Reason, shown to others and recorded in the audit log."
)


@contextmanager
def prefix_refusals(label: str) -> Iterator[None]:
    """Prefix every refusal in the block with a label that says what wasn't done."""
    try:
        yield
    except RefusalError as exc:
        raise CommandRefusedError(f"{label}. {exc}") from exc


def _read_email(_context: click.Context, _parameter: click.Parameter, email: str) -> "Address":
    """Return the address passed to a command; `-` means that it's read from standard input.

    Raises:
        CommandRefusedError: the text isn't an email address.
    """
    from subscribers.address import read_address

    with prefix_refusals("Not done"):
        return read_address(sys.stdin.readline() if email == "-" else email)


def _read_email_or_number(context: click.Context, parameter: click.Parameter, text: str) -> "Address | int":
    return int(text) if text.isdecimal() else _read_email(context, parameter, text)


email_argument = click.argument("address", metavar="EMAIL", callback=_read_email)
person_argument = click.argument("whom", metavar="EMAIL|NUMBER", callback=_read_email_or_number)


def reason_option(record: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the `--reason` option for an action on a person.

    The help text says that the reason is stored in `record`.
    """
    why = f"Reason, recorded in the {record}. No names or email addresses."
    return click.option("--reason", required=True, callback=check_reason, help=why)

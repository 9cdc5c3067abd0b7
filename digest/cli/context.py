"""What every command stands on: the settings, the installation, who acts, and the moment it is.

What is heavy to import is imported where it is first needed: `digest --version` opens nothing.
"""

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from digest.cli.lazy_group import RUNNING_AS, CommandRefusedError
from digest.folder_owner import continue_as_owner
from subscribers.callback_types import Progress
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
    """Read a moment such as 2026-11-19T17:30; without a zone it is meant in the publication's.

    Raises:
        click.BadParameter: it is no moment of ISO 8601.
    """
    from dateutil.parser import isoparse

    try:
        return isoparse(text.strip())
    except ValueError as exc:
        raise click.BadParameter(
            f"{text!r} isn't a date and time. Enter one such as 2026-11-19T17:30 or 2026-11-19T22:30Z."
        ) from exc


MOMENT = click.types.FuncParamType(parse_moment)
MOMENT.name = "moment"  # as help shows it


@dataclass(frozen=True)
class CommandContext:
    """One run of the command line. Settings and database are opened when a command first asks for them.

    `settings_file` is the settings file that was named, `acting_email` the address of the staff member who acts, if one was named.
    """

    settings_file: Path | None = None
    acting_email: str | None = None

    @cached_property
    def settings(self) -> "Settings":
        """The settings, checked. From then on, root's process is that of the installation's owner.

        Raises:
            SettingsError: with every problem in them.
            FolderOwnerError: root can't continue as the owner.
        """
        from digest.settings import load_settings

        settings = load_settings(self.settings_file)
        leave_root(settings.home)
        return settings

    @property
    def installation(self) -> "Installation":
        """The installation, its database at the newest schema; closed when the command ends.

        Raises:
            InstallationError: its folder or database is out of reach.
            UnknownStaffError: nobody on the staff has the address that was named.
        """
        return self._opened[0]

    @property
    def installation_as_it_is(self) -> "Installation":
        """The installation for a command that only looks; nothing is brought up to date before.

        Raises:
            InstallationError: its folder or database is out of reach, or its schema is older than this program's.
            UnknownStaffError: nobody on the staff has the address that was named.
        """
        return self._open(may_migrate=False)[0]

    @property
    def actor(self) -> "Actor":
        """Who acts: the staff member who was named, else whoever sits at this terminal."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> "tuple[Installation, Actor]":
        """The installation with who acts on it: nothing of it is lent to somebody unknown."""
        return self._open()

    def _open(self, *, may_migrate: bool = True) -> "tuple[Installation, Actor]":
        from digest.installation.opened_installation import open_installation

        opened = open_installation(self.settings, may_migrate=may_migrate, show_progress=_show_progress)
        installation = click.get_current_context().find_root().with_resource(opened)
        return installation, self.identify_actor(installation)

    def act(
        self,
        action: "Callable[Concatenate[Installation, Actor, Arguments], Outcome]",
        *args: "Arguments.args",
        **kwargs: "Arguments.kwargs",
    ) -> "Outcome":
        """Carry out an action of `digest.app` on the installation, as whoever acts."""
        return action(self.installation, self.actor, *args, **kwargs)

    def refuse_unknown_actor(self) -> None:
        """Look up the staff member who was named, for a command that otherwise needs no installation.

        Raises:
            UnknownStaffError: nobody on the staff has the address.
        """
        if self.acting_email is not None:
            _ = self.actor

    @property
    def terminal(self) -> "Actor":
        """Whoever sits at this terminal."""
        from digest.installation.audited_actions import terminal_actor

        return terminal_actor(find_system_user())

    def identify_actor(self, installation: "Installation") -> "Actor":
        """Find who acts on an installation.

        Raises:
            UnknownStaffError: nobody on the staff has the address that was named; it is in the audit log.
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
        """Give the time now, in UTC."""
        return datetime.now(UTC)

    def moment_or_now(self, moment_option: datetime | None) -> datetime:
        """Give the moment that was named, else now; in UTC."""
        return self.moment_or_none(moment_option) or self.now()

    def moment_or_none(self, moment_option: datetime | None) -> datetime | None:
        """Give the moment that was named, in UTC; None if there's none."""
        if moment_option is not None and moment_option.tzinfo is None:
            moment_option = moment_option.replace(tzinfo=self.settings.file.publication.zone)
        return moment_option and moment_option.astimezone(UTC)


def leave_root(folder: Path) -> None:
    """Have root's process continue as the owner of an installation's folder, and say so.

    Raises:
        FolderOwnerError: it can't.
    """
    if name := continue_as_owner(folder):
        click.get_current_context().meta[RUNNING_AS] = name
        click.echo(f"Running as {name}, the owner of {folder}", err=True)


def _show_progress(label: str) -> AbstractContextManager[Progress]:
    from digest.cli.terminal import show_progress

    return show_progress(label)


pass_command_context = click.make_pass_decorator(CommandContext)


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print what `--json` asks for; moments as ISO 8601. With an indent it is meant for people, and no letter is escaped."""
    ascii_only = indent is None
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=methodcaller("isoformat"))
    click.echo(text)


def pick_json_fields(value: object, *names: str, **paths: str) -> dict[str, Any]:
    """Return what `--json` prints of a value: its attributes of these names, and others by their paths (`release.deadline`)."""
    path_by_name = dict(zip(names, names, strict=True)) | paths
    return {key: attrgetter(path)(value) for key, path in path_by_name.items()}


def print_lines(lines: "Iterable[RenderableType]") -> None:
    """Print an answer for people: sentences and tables, in turn."""
    for line in lines:
        if isinstance(line, str):
            click.echo(line)
        else:
            from digest.cli.terminal import make_table_console

            make_table_console().print(line)


def print_result(
    result: object, lines: "Iterable[RenderableType]", *, as_json: bool, indent: int | None = None
) -> None:
    """Print what a command found: as JSON where that is asked for, else the lines that say it."""
    if as_json:
        print_json(result, indent=indent)
    else:
        print_lines(lines)


def context_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a group `--settings` and `--as`, and put the `CommandContext` they describe before its commands."""

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
    """Name the user of this process; a container's may have a number only."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def check_reason(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Check a reason: it stands in chains, disclosures and the audit log, which hold no reader's address."""
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
    """Make the option that has an answer printed as JSON; `help_text` is its help."""
    return flag("--json", "as_json", help=help_text)


def yes_option(help_text: str = "Don't ask for confirmation.") -> Callable[..., Any]:
    """Make the option that leaves a question out; `help_text` is its help."""
    return flag("--yes", help=help_text)


because_option = click.option(
    "--because", callback=check_reason, help="Reason, shown to others and recorded in the audit log."
)


@contextmanager
def prefix_refusals(label: str) -> Iterator[None]:
    """Begin the message of every refusal in the block with what was not done."""
    try:
        yield
    except RefusalError as exc:
        raise CommandRefusedError(f"{label}. {exc}") from exc


def _read_email(_context: click.Context, _parameter: click.Parameter, email: str) -> "Address":
    """Read the address that a command got; `-` takes it from standard input.

    Raises:
        CommandRefusedError: it is no address.
    """
    from subscribers.address import read_address

    with prefix_refusals("Not done"):
        return read_address(sys.stdin.readline() if email == "-" else email)


def _read_email_or_number(context: click.Context, parameter: click.Parameter, text: str) -> "Address | int":
    return int(text) if text.isdecimal() else _read_email(context, parameter, text)


email_argument = click.argument("address", metavar="EMAIL", callback=_read_email)
person_argument = click.argument("whom", metavar="EMAIL|NUMBER", callback=_read_email_or_number)


def reason_option(record: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the option that says why somebody acts on a person; the reason is kept in `record`."""
    why = f"Reason, recorded in the {record}. No names or email addresses."
    return click.option("--reason", required=True, callback=check_reason, help=why)

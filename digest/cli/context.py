"""What every command stands on: the settings, the installation, who acts, and the moment it is."""

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from dateutil.parser import isoparse
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from digest.app.actor import Actor, Face, UnknownStaffError, identify_staff, terminal_actor
from digest.app.installation import Installation, InstallationError, open_installation
from digest.settings import Settings, SettingsError, load_settings


class CommandSetupError(click.ClickException):
    """The installation cannot be opened as it is: wrong use, in the sense of the exit codes."""

    exit_code = 2


def moment(text: str) -> datetime:
    """Read a moment such as 2026-11-19T17:30; without a zone it is meant in the publication's.

    Raises:
        click.BadParameter: it is no moment of ISO 8601.
    """
    try:
        return isoparse(text.strip())
    except ValueError as exc:
        raise click.BadParameter(
            f"{text!r} is no moment; write one such as 2026-11-19T17:30 or 2026-11-19T22:30Z"
        ) from exc


MOMENT = moment  # the type of an option: click shows the function's name


@dataclass(frozen=True)
class CommandContext:
    """One run of the command line. Settings and database are opened when a command first asks for them.

    `settings_file` is the settings file that was named, `acting_email` the address of the staff member who acts, if one was named.
    """

    settings_file: Path | None = None
    acting_email: str | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked."""
        return self.read_settings(self.settings_file)

    @cached_property
    def install(self) -> Installation:
        """The installation, its database at the newest schema; closed when the command ends."""
        return click.get_current_context().find_root().with_resource(self.open_installation(self.settings))

    @cached_property
    def actor(self) -> Actor:
        """Who acts: the staff member who was named, else whoever sits at this terminal.

        Raises:
            CommandSetupError: nobody on the staff has the address that was named.
        """
        if self.acting_email is None:
            return terminal_actor(system_user())
        try:
            return identify_staff(self.install.database, self.acting_email, Face.TERMINAL)
        except UnknownStaffError:
            raise CommandSetupError(
                "--as: nobody on the staff has this address. See 'digest staff list', or leave --as out: "
                "then you act as the user of this terminal."
            ) from None

    def read_settings(self, file: Path | None) -> Settings:
        """Read a settings file and the environment.

        Raises:
            CommandSetupError: with every problem in them.
        """
        try:
            return load_settings(file)
        except SettingsError as exc:
            raise CommandSetupError(str(exc)) from exc

    @contextmanager
    def open_installation(self, settings: Settings) -> Iterator[Installation]:
        """Open the installation that `settings` describe, for the length of the block.

        Raises:
            CommandSetupError: its folder or database is out of reach.
        """
        with ExitStack() as stack:
            try:
                install = stack.enter_context(open_installation(settings))
            except InstallationError as exc:
                raise CommandSetupError(str(exc)) from exc
            except SQLAlchemyError as exc:
                # The URL may hold a password, so only what the driver said is shown.
                said = str(exc.orig).strip() if isinstance(exc, DBAPIError) else type(exc).__name__
                advice = "Look at DIGEST_DATABASE_URL and DIGEST_HOME."
                raise CommandSetupError(f"The database cannot be opened: {said}\n{advice}") from exc
            yield install

    def moment_or_now(self, given: datetime | None) -> datetime:
        """Give the moment that was named, else now; in UTC."""
        if given is None:
            return datetime.now(UTC)
        if given.tzinfo is None:
            given = given.replace(tzinfo=self.settings.file.publication.zone)
        return given.astimezone(UTC)


pass_command_context = click.make_pass_decorator(CommandContext)


def context_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a group `--settings` and `--as`, and put the `CommandContext` they describe before its commands."""

    @click.option(
        "--settings",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The settings file; by default DIGEST_SETTINGS, else ./digest.toml.",
    )
    @click.option(
        "--as", "email", metavar="EMAIL", help="Act as this staff member; by default as terminal:<system user>."
    )
    @click.pass_context
    def begin(context: click.Context, /, file: Path | None, email: str | None, **others: Any) -> Any:
        if email and "@" not in email:
            raise click.BadParameter("a staff member's e-mail address is meant", param_hint="--as")
        context.obj = CommandContext(file, email)
        return context.invoke(command, **others)

    begin.__doc__ = command.__doc__
    begin.__name__ = command.__name__
    return begin


def system_user() -> str:
    """Name the user of this process; a container's may have a number only."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())

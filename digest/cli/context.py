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

from digest import staff
from digest.install import Install, InstallError, opened
from digest.settings import Settings, SettingsError, load


class CannotOpen(click.ClickException):
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
class Desk:
    """One run of the command line. Settings and database are opened when a command first asks for them.

    `file` is the settings file that was named, `email` the address of the staff member who acts, if one was named.
    """

    file: Path | None = None
    email: str | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked."""
        return self.read_settings(self.file)

    @cached_property
    def install(self) -> Install:
        """The installation, its database at the newest schema; closed when the command ends."""
        return click.get_current_context().find_root().with_resource(self.open(self.settings))

    @cached_property
    def actor(self) -> str:
        """Who acts, as the audit log has it: `staff 3`, or `terminal:<system user>`.

        Raises:
            CannotOpen: nobody on the staff has the address that was named.
        """
        if self.email is None:
            return f"terminal:{system_user()}"
        with self.install.database.read() as session:
            member = staff.named(session, self.email)
        if member is None:
            raise CannotOpen(
                "--as: nobody on the staff has this address. See 'digest staff list', or leave --as out: "
                "then you act as the user of this terminal."
            )
        return staff.actor_of(member)

    def read_settings(self, file: Path | None) -> Settings:
        """Read a settings file and the environment.

        Raises:
            CannotOpen: with every problem in them.
        """
        try:
            return load(file)
        except SettingsError as exc:
            raise CannotOpen(str(exc)) from exc

    @contextmanager
    def open(self, settings: Settings) -> Iterator[Install]:
        """Open the installation that `settings` describe, for the length of the block.

        Raises:
            CannotOpen: its folder or database is out of reach.
        """
        with ExitStack() as stack:
            try:
                install = stack.enter_context(opened(settings))
            except InstallError as exc:
                raise CannotOpen(str(exc)) from exc
            except SQLAlchemyError as exc:
                # The URL may hold a password, so only what the driver said is shown.
                said = str(exc.orig).strip() if isinstance(exc, DBAPIError) else type(exc).__name__
                advice = "Look at DIGEST_DATABASE_URL and DIGEST_HOME."
                raise CannotOpen(f"The database cannot be opened: {said}\n{advice}") from exc
            yield install

    def moment(self, named: datetime | None) -> datetime:
        """Give the moment that was named, else now; in UTC."""
        if named is None:
            return datetime.now(UTC)
        if named.tzinfo is None:
            named = named.replace(tzinfo=self.settings.file.publication.zone)
        return named.astimezone(UTC)


pass_desk = click.make_pass_decorator(Desk)


def desk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a group `--settings` and `--as`, and put the `Desk` they describe before its commands."""

    @click.option(
        "--settings",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The settings file; by default DIGEST_SETTINGS, else ./digest.toml.",
    )
    @click.option(
        "--as",
        "email",
        metavar="EMAIL",
        help="Act as this staff member; by default as terminal:<system user>.",
    )
    @click.pass_context
    def begin(context: click.Context, /, file: Path | None, email: str | None, **others: Any) -> Any:
        if email and "@" not in email:
            raise click.BadParameter("a staff member's e-mail address is meant", param_hint="--as")
        context.obj = Desk(file, email)
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

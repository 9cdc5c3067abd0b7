"""Groups that import a command's module only when the command runs, and that report expected errors."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click

from subscribers.errors import ApplicationError, RefusalError

# Key in a context's `meta` for the user that a process run by root continued as.
RUNNING_AS = "digest.running_as"


class CommandRefusedError(click.ClickException):
    """Raised if a command can't do what was asked.

    The message says why.
    """

    exit_code = 1


class UnmetPrerequisiteError(click.ClickException):
    """Raised if something must be fixed before a command can run.

    The message says what.
    """

    exit_code = 2


class LazyGroup(click.Group):
    """A group whose commands are specified as `module:attribute` and imported when they're needed."""

    def __init__(self, *args: Any, command_places: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        """Initialize the group with its commands, given as `module:attribute` by name.

        Commands can also be added with a decorator.
        """
        super().__init__(*args, **kwargs)
        self._command_places = command_places or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the sorted names of the commands."""
        return sorted({*super().list_commands(ctx), *self._command_places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of this name, or return None if there's none."""
        place = self._command_places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


class ErrorReportingGroup(LazyGroup):
    """The group of all commands, which turns expected errors into messages.

    Expected errors are shown as messages with an exit code, and other errors as tracebacks.
    `before_import` is called before the module of a command is imported, and `after_import`
    afterward.
    """

    before_import: Callable[[], None] | None = None
    after_import: Callable[[], None] | None = None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import and return the requested command."""
        resolved = super().resolve_command(ctx, args)
        if self.after_import is not None:
            self.after_import()
        return resolved

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn expected errors into messages."""
        if self.before_import is not None:
            self.before_import()
        try:
            return super().invoke(ctx)
        except Exception as exc:
            if unopened := _explain_unopened_file(exc, ctx.meta.get(RUNNING_AS)):
                raise unopened from exc
            if isinstance(exc, ApplicationError):
                raise _describe_error(exc) from exc
            from digest.installation.storage_errors import explain_storage_error

            explained = explain_storage_error(exc)
            if explained is None:
                raise
            raise _describe_error(explained) from exc


def _explain_unopened_file(error: Exception, user: str | None) -> click.ClickException | None:
    """Return an error if a process run by root continued as a user who can't open a file.

    For other errors, return None.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    if user is None or not isinstance(cause, PermissionError) or cause.filename is None:
        return None
    return UnmetPrerequisiteError(
        f"This command runs as {user}, who can't open {cause.filename}. Move it to a folder that {user} can read, "
        "or pipe it in if the command accepts '-'."
    )


def _describe_error(error: ApplicationError) -> click.ClickException:
    advice = " Run the command again later." if error.can_retry else ""
    return (CommandRefusedError if isinstance(error, RefusalError) else UnmetPrerequisiteError)(f"{error}{advice}")

"""The `digest` command: one group of the commands that stand beside this, and how their errors are said."""

import logging
from typing import Any

import click

from digest import __version__, logs
from digest.app.acts import NotPermittedError
from digest.app.installation import InstallationError
from digest.cli.backup import backup, restore
from digest.cli.collect import collect
from digest.cli.context import context_options
from digest.cli.control import cancel, hold, pause, release, resume
from digest.cli.demo import demo
from digest.cli.editions import approve, check, draft, send, show, status
from digest.cli.inbound import inbound
from digest.cli.installation import doctor, init, serve
from digest.cli.keys import keys
from digest.cli.sources import sources
from digest.cli.staff import staff
from digest.cli.subscribers.group import subscribers
from digest.cli.uncertain import uncertain
from digest.deliver.compose.personalisation import ComposeError
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.providers.registry import ProviderSettingsError
from digest.deliver.send.edition_run import SendError
from digest.edition.approval import ApprovalError
from digest.edition.drafting import DraftError
from digest.edition.queries import UnknownEditionError
from digest.edition.rendering.fragments import RenderingError
from digest.settings import SettingsError
from subscribers.crypto.keys import KeyFileError

# What a person can mend: said in one line, with exit code 2. Anything else is a fault of ours and shows itself.
CORRECTABLE_ERRORS = (
    *(ApprovalError, DraftError, InstallationError, KeyFileError, ComposeError),
    *(RenderingError, SendError, SettingsError, EditionControlError, ProviderSettingsError, UnknownEditionError),
    NotPermittedError,
)


class CorrectableError(click.ClickException):
    """An error that a person can mend."""

    exit_code = 2


class ErrorReportingGroup(click.Group):
    """A group whose commands' expected errors are messages, not tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn an error that a person can mend into its message."""
        try:
            return super().invoke(ctx)
        except CORRECTABLE_ERRORS as exc:
            raise CorrectableError(str(exc.args[0] if exc.args else exc)) from exc


@click.group(
    cls=ErrorReportingGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
The week:
  digest collect && digest draft --explain
  digest check current && digest serve        look at it, approve it
  digest send current
To see it all on made-up data first: digest demo

Exit codes: 0 done, 1 the answer is no, 2 wrong use, or something that you can mend: each command says which.""",
)
@click.version_option(__version__, prog_name="digest")
@context_options
def digest() -> None:
    """Make and send a weekly digest: collect articles, draft an edition, approve it, hand it over."""


for command in (
    *(init, demo, collect, sources, draft, show, check, approve, send, status),
    *(pause, resume, cancel, hold, release, uncertain),
    *(subscribers, staff, keys, serve, doctor, inbound, backup, restore),
):
    digest.add_command(command)


def main() -> None:
    """Run the `digest` command."""
    logs.configure_logging(logging.WARNING)  # what a command does, it says by itself; 'serve' logs more
    digest()

"""`digest demo`: a whole week into files, and how to look at what it made."""

import sys
from pathlib import Path

import click
from rich.console import Console

from digest.app.demo.sample_week import SAMPLE_ADMIN, SAMPLE_EDITOR, DemoError, run_demo
from digest.cli.context import CommandContext, flag, pass_command_context


@click.command(
    epilog="""\b
Examples:
  digest demo                     the bundled sample week, into ./digest-demo
  digest demo --live              the sources of the settings instead, this week
  digest demo --to /tmp/look

Exit codes: 0 all was written, 1 something stopped it (it says what)."""
)
@flag("--live", help="Collect the sources of digest.toml (else the shipped ones) from the world.")
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("digest-demo"), show_default=True
)
@pass_command_context
def demo(context: CommandContext, live: bool, folder: Path) -> None:
    """Run a whole week into .eml files: collect, draft, render, check, approve, hand over. Nobody is mailed.

    Of the bundled sample the next edition is left as a draft, to try the desk on.
    """
    console = Console()

    def report(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    try:
        result = run_demo(folder, context.settings if live else None, report)
    except DemoError as exc:
        raise click.ClickException(str(exc)) from None
    home = result.settings.home
    served = f"DIGEST_HOME={home} {sys.argv[0]} --settings {home / 'digest.toml'} serve --no-timetable"
    report(
        f"\nMail:      {result.settings.outbox_folder / 'edition'}/*.eml   (open one in any mail program)\n"
        f"Web copy:  {result.web_copy}   (open it in a browser)\n"
        "Desk: this serves it, and prints links that sign you in as its sample editor and its sample admin:\n"
        f"  {served} --sign-in {SAMPLE_EDITOR} --sign-in {SAMPLE_ADMIN}"
    )

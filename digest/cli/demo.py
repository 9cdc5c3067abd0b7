"""The `digest demo` command, which runs a whole week into files and prints how to view them."""

import sys
from pathlib import Path

import click
from rich.console import Console

from digest.app.demo.sample_week import SAMPLE_ADMIN, SAMPLE_EDITOR, DemoError, run_demo
from digest.cli.context import CommandContext, flag, pass_command_context


@click.command(
    epilog="""\b
Examples:
  digest demo                     run the sample week in ./digest-demo
  digest demo --live              use this week's articles from your sources
  digest demo --to /tmp/look

Exit codes: 0 done, 1 failed."""
)
@flag("--live", help="Collect live sources from digest.toml instead of the sample.")
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("digest-demo"), show_default=True
)
@pass_command_context
def demo(context: CommandContext, live: bool, folder: Path) -> None:
    """Run a whole week, from collecting to sending, into .eml files. No email is sent.

    With the sample, the next edition is left as a draft for you to edit.
    """
    console = Console()

    def report(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    try:
        result = run_demo(folder, context.settings if live else None, report)
    except DemoError as exc:
        raise click.ClickException(str(exc)) from None
    home = result.settings.home
    served = f"DIGEST_HOME={home} {sys.argv[0]} --settings {home / 'digest.toml'} serve --no-schedule"
    report(
        f"\nEmails:    {result.settings.outbox_folder / 'edition'}/*.eml   (open in an email app)\n"
        f"Web copy:  {result.web_copy}   (open it in a browser)\n"
        "To edit the draft, run this. It prints a link that signs you in as the sample editor, and one for the admin:\n"
        f"  {served} --sign-in {SAMPLE_EDITOR} --sign-in {SAMPLE_ADMIN}"
    )

"""`digest media add`: the publisher's logo."""

from pathlib import Path

import click

from digest.app.settings.logos import keep_logo
from digest.cli.context import EXISTING_FILE, CommandContext, pass_command_context


@click.group(epilog="\b\nExample:\n  digest media add logo-light.png logo-dark.png")
def media() -> None:
    """Keep the pictures that are the publication's own."""


@media.command(
    epilog="""\b
Examples:
  digest media add logo-light.png logo-dark.png

Of each file is kept a clean copy under its own name, for look.logo and look.logo_dark in digest.toml. A logo stands 30 pixels
high in the masthead, at most 200 wide; the file needs 60 pixels of height, to be sharp on every screen. Transparent parts stay transparent.
Exit codes: 0 all kept, 2 one cannot be the logo (it says why)."""
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=EXISTING_FILE)
@pass_command_context
def add(context: CommandContext, files: tuple[Path, ...]) -> None:
    """Keep a logo, for light or for dark screens, by the name of its file."""
    for file in files:
        kept = context.act(keep_logo, file.name, file.read_bytes(), now=context.now())
        click.echo(f"{kept.name}: kept, {kept.width} x {kept.height} in the masthead")
    click.echo("In [look] of digest.toml, logo names the one for light screens and logo_dark the one for dark screens.")

"""`digest media add`: the publisher's logo."""

from pathlib import Path

import click

from digest.app.settings.logos import store_logo
from digest.cli.context import EXISTING_FILE, CommandContext, pass_command_context


@click.group(epilog="\b\nExample:\n  digest media add logo-light.png logo-dark.png")
def media() -> None:
    """Store the publication's images."""


@media.command(
    epilog="""\b
Examples:
  digest media add logo-light.png logo-dark.png

Use the names of the files in branding.logo and branding.logo_dark in digest.toml. A logo is shown 30 pixels high and at most 200 wide.
The file must be at least 60 pixels high, to be sharp on every screen. Transparent parts stay transparent.
Exit codes: 0 all stored, 2 a file can't be used as a logo."""
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=EXISTING_FILE)
@pass_command_context
def add(context: CommandContext, files: tuple[Path, ...]) -> None:
    """Store a logo for light or dark screens under its file name."""
    for file in files:
        stored_logo = context.act(store_logo, file.name, file.read_bytes(), now=context.now())
        click.echo(f"{stored_logo.name}: stored, {stored_logo.width} x {stored_logo.height} pixels in the masthead")
    click.echo(
        "To use the logo, set logo (for light screens) and logo_dark (for dark screens) under [branding] in digest.toml."
    )

"""The `digest media` command, which stores the publisher's logo and header image."""

from pathlib import Path

import click

from digest.app.settings.brand_images import BrandImageKind, store_brand_image
from digest.cli.context import EXISTING_FILE, CommandContext, pass_command_context


@click.group(epilog="\b\nExample:\n  digest media add logo-light.png logo-dark.png")
def media() -> None:
    """Store the publication's images."""


@media.command(
    epilog="""\b
Examples:
  digest media add logo-light.png logo-dark.png
  digest media add --header header.jpg

Enter the file names as branding.logo and branding.logo_dark in digest.toml. A logo is shown as high as branding.logo_height says, 30 pixels by default, and at most 300 pixels wide.
The file must be at least 60 pixels high, and 120 for a logo 60 pixels high, to be sharp on every screen. Transparent parts of a logo stay transparent.
A header image must be at least 560 pixels wide (1120 to be sharp on every screen) and at least four times as wide as it's tall. Transparent parts become white.
Exit codes: 0 all stored, 2 a file can't be used."""
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=EXISTING_FILE)
@click.option("--header", "is_header", is_flag=True, help="Store a header image instead of a logo.")
@pass_command_context
def add(context: CommandContext, files: tuple[Path, ...], *, is_header: bool) -> None:
    """Store a logo for light or dark screens, or a header image, under its file name."""
    kind: BrandImageKind = "header" if is_header else "logo"
    for file in files:
        stored_image = context.act(store_brand_image, file.name, file.read_bytes(), kind=kind, now=context.now())
        place = "above the masthead" if is_header else "in the masthead"
        click.echo(f"{stored_image.name}: stored, {stored_image.width} x {stored_image.height} pixels {place}")
    click.echo(
        "To use the image, set header under [branding] in digest.toml."
        if is_header
        else "To use the logo, set logo (for light screens) and logo_dark (for dark screens) under [branding] in digest.toml."
    )

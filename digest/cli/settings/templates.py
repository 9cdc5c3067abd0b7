"""`digest templates`: the mail's and the pages' templates, and copies of them to change."""

import click

from digest.app.settings.own_templates import copy_templates, list_templates
from digest.cli.context import CommandContext, pass_command_context


@click.group(epilog="\b\nExample:\n  digest templates copy mail/edition/foot.html")
def templates() -> None:
    """Change what mails and pages are made of, beyond the settings."""


@templates.command("list", epilog="\b\nExample:\n  digest templates list\n\nExit codes: 0 listed.")
@pass_command_context
def list_command(context: CommandContext) -> None:
    """Name the shipped templates; a star marks those that a file of your own replaces."""
    for template in list_templates(context.installation):
        click.echo(f"{'*' if template.is_replaced else ' '} {template.name}")


@templates.command(
    epilog="""\b
Examples:
  DIGEST_TEMPLATES=/srv/digest/templates digest templates copy mail/edition/foot.html
  digest templates copy mail/welcome

The copy is used in place of the shipped one from then on; an upgrade does not change it. What a template gets is written in
docs/templates.md; 'digest doctor' renders every mail with yours. Exit codes: 0 copied, 2 it cannot be (it says why)."""
)
@click.argument("name")
@pass_command_context
def copy(context: CommandContext, name: str) -> None:
    """Copy a shipped template, or a folder of them, into DIGEST_TEMPLATES, for you to change."""
    for path in context.act(copy_templates, name, now=context.now()):
        click.echo(f"{path}: copied")

"""The `digest templates` command, which lists the templates of emails and pages and copies them for editing."""

import click

from digest.app.settings.custom_templates import copy_shipped_templates, list_shipped_templates
from digest.cli.context import CommandContext, pass_command_context


@click.group(epilog="\b\nExample:\n  digest templates copy mail/edition/foot.html")
def templates() -> None:
    """Customize the templates of emails and pages."""


@templates.command("list", epilog="\b\nExample:\n  digest templates list\n\nExit codes: 0 listed.")
@pass_command_context
def list_command(context: CommandContext) -> None:
    """List the built-in templates. A star marks those you've replaced."""
    for template in list_shipped_templates(context.installation):
        click.echo(f"{'*' if template.is_replaced else ' '} {template.name}")


@templates.command(
    epilog="""\b
Examples:
  DIGEST_TEMPLATES=/srv/digest/templates digest templates copy mail/edition/foot.html
  digest templates copy mail/welcome

From then on, your copy is used instead of the built-in template, and upgrades don't change it. For the variables of each
template, see docs/templates.md. To test your templates, run 'digest doctor'. Exit codes: 0 copied, 2 not possible."""
)
@click.argument("name")
@pass_command_context
def copy(context: CommandContext, name: str) -> None:
    """Copy a built-in template, or a folder of them, to DIGEST_TEMPLATES, where you can edit it."""
    for path in context.act(copy_shipped_templates, name, now=context.now()):
        click.echo(f"{path}: copied")

"""The `digest keys` command, which lists, rotates, restores, and protects keys."""

from dataclasses import asdict
from pathlib import Path
from typing import IO, get_args

import click
from rich.table import Column, Table

from digest.app.upkeep import keys as key_actions
from digest.cli.context import CommandContext, flag, json_option, pass_command_context, print_result
from digest.cli.terminal import show_progress
from digest.installation.opened_installation import open_installation
from subscribers.crypto.keys import KeyKind
from subscribers.store.key_rotation import REWRITTEN_KINDS, KeyUsage, RotationResult

EXIT_ROWS_STUCK = 1


@click.group(epilog="\b\nExample:\n  digest keys list")
def keys() -> None:
    """Manage the keys that protect addresses, links, and records. See docs/keys.md."""


@keys.command(
    "list", epilog="\b\nExamples:\n  digest keys list\n  digest keys list --json\n\nExit codes: 0 shown, 2 no key file."
)
@json_option("Print the list as JSON.")
@pass_command_context
def list_keys(context: CommandContext, as_json: bool) -> None:
    """List the keys by kind, with the number of rows that use each. Secrets aren't shown."""
    usages = context.act(key_actions.list_keys, now=context.now())
    table = Table("Kind", "ID", Column("Rows", justify="right"), "")
    for usage in usages:
        rows = "-" if usage.rows is None else f"{usage.rows:,}"
        table.add_row(usage.kind, usage.id, rows, _key_status(usage))
    print_result([asdict(usage) for usage in usages], [table], as_json=as_json, indent=2)


def _key_status(usage: KeyUsage) -> str:
    if not usage.in_file:
        return "NOT IN THE KEY FILE (these rows can't be read)"
    if usage.current:
        return "current"
    return "kept to verify what was made with it" if usage.rows is None else "kept"


@keys.command(
    epilog="""\b
Examples:
  digest keys rotate token
  digest keys rotate vault             encrypts every address again
  digest keys rotate vault --fresh     a new key, despite an unfinished rotation

\b
You can stop a rotation at any time. The installation keeps working, and the next run finishes it.
Processes on this machine use the new key automatically. On other machines, stop them first, and copy
the key file there afterward.

\b
Exit codes:
  0  done
  1  done, except for the listed rows, which keep their old key
  2  usage error, or the key file can't be used"""
)
@click.argument("kind", type=click.Choice(get_args(KeyKind)))
@flag("--fresh", help="Make a new key even if an earlier rotation isn't finished.")
@pass_command_context
def rotate(context: CommandContext, kind: KeyKind, fresh: bool) -> None:
    """Make a new key of a KIND. Older keys are kept.

    Rotating vault encrypts every address again, and rotating lookup computes every hash again. For other kinds, no rows
    are rewritten. After rotating session and restarting 'digest serve', the team has to sign in again.
    """
    with show_progress(f"Rotating {kind}") as progress:
        result, recovery_copy = context.act(
            key_actions.rotate_key, kind, force_new_key=fresh, now=context.now(), progress=progress
        )
    _print_rotation(result)
    click.echo(
        "This is the new recovery copy of the keys. Replace the old copy with it, and keep it apart from the "
        f"backups:\n\n{recovery_copy}\n"
    )
    if result.unmoved_rows:
        raise SystemExit(EXIT_ROWS_STUCK)


@keys.command(
    "restore",
    epilog="""\b
Examples:
  digest keys restore recovery-copy.json
  digest keys restore -                       paste it, then Ctrl+D
  digest keys restore copy.json --replace     if there are newer keys (moved aside)

\b
Exit codes:
  0  restored
  2  usage error, or the copy is damaged or belongs to another database""",
)
@click.argument("file", type=click.File("r", encoding="utf-8"))
@flag("--replace", help="Move an existing key file aside.")
@pass_command_context
def restore_key_file(context: CommandContext, file: IO[str], replace: bool) -> None:
    """Restore the key file from a recovery copy (FILE, or - for standard input), if it belongs to this database."""
    # After a loss, the keys may be restored before the database.
    with open_installation(context.settings, may_create=True) as installation:
        actor = context.identify_actor(installation)
        copy = file.read()
        result = key_actions.restore_keys(installation, actor, copy, replace=replace, now=context.now())
    if result.aside:
        click.echo(f"The previous key file is now {result.aside}.")
    click.echo(f"Restored the keys in {context.settings.key_file}. If 'digest serve' is running, restart it.")
    for key in result.lost_keys:
        click.echo(
            f"This recovery copy is older than the key {key}, so anything made with that key, such as links in "
            "emails, no longer works."
        )
    if result.lost_keys:
        click.echo(
            "To fix this, find the recovery copy printed by that key's rotation, and restore it: digest keys "
            "restore FILE --replace"
        )


@keys.command(
    epilog="""\b
Examples:
  DIGEST_KEY_PASSPHRASE=… digest keys protect
  digest keys protect                     with a systemd credential

\b
First give the passphrase to everything that runs here (see docs/keys.md).

\b
Exit codes:
  0  the key file is protected
  2  no passphrase, or the key file can't be used"""
)
@pass_command_context
def protect(context: CommandContext) -> None:
    """Protect the key file with the passphrase in DIGEST_KEY_PASSPHRASE."""
    context.act(key_actions.encrypt_key_file, now=context.now())
    click.echo(
        f"{context.settings.key_file} is now protected by the passphrase. Its recovery copy isn't, and still "
        "works.\nKeep the copy, because a forgotten passphrase can't be recovered."
    )


@keys.command(
    epilog="""\b
Example:
  digest keys unprotect

\b
Exit codes:
  0  the passphrase is removed
  2  wrong passphrase, or the key file can't be used"""
)
@pass_command_context
def unprotect(context: CommandContext) -> None:
    """Remove the passphrase from the key file."""
    context.act(key_actions.decrypt_key_file, now=context.now())
    click.echo(f"{context.settings.key_file} is no longer protected by a passphrase.")


def _print_rotation(result: RotationResult) -> None:
    if result.key_added:
        click.echo(f"Made a new {result.kind} key: {result.key_id}")
    else:
        click.echo(
            f"Finished an earlier rotation. The {result.kind} key is {result.key_id}.\nFor a new key, run: digest "
            f"keys rotate {result.kind}"
        )
    if result.kind in REWRITTEN_KINDS:
        click.echo(f"Rows updated: {result.rows_moved:,}")
    for unmoved in result.unmoved_rows:
        click.echo(f"{unmoved.row.capitalize()} keeps the old key: {unmoved.reason}.", err=True)


def print_recovery_copy(file: Path, recovery_copy: str | None, *, is_secret: bool = False) -> None:
    """Report new keys, with their recovery copy unless `is_secret` is true.

    If there's no copy, the key file already existed.
    """
    if recovery_copy is None:
        click.echo(f"{file} already exists and wasn't changed")
        return
    shown = f" To restore a lost key file, use this recovery copy:\n\n{recovery_copy.strip()}\n"
    click.echo(
        f"Created the keys in {file}.\nWithout this file, email addresses can never be read again. Keep a copy "
        f"apart from the backups,\nprinted or in a safe.{'' if is_secret else shown}"
    )

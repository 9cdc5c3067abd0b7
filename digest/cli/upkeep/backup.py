"""The `digest backup` and `digest restore` commands, which save everything to a file and restore it."""

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
from pydantic import SecretStr

from digest.app.upkeep import backups
from digest.backups.archive import ArchiveManifest, BackupError
from digest.backups.restore import RestoreResult
from digest.cli.context import (
    FILE_PATH,
    CommandContext,
    flag,
    json_option,
    pass_command_context,
    pick_json_fields,
    prefix_refusals,
    print_json,
    print_result,
    yes_option,
)
from digest.cli.terminal import show_progress
from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import open_installation
from digest.installation.passphrases import check_new_passphrase
from digest.settings import Settings
from subscribers.consent.seals import LedgerProof
from subscribers.english_text import count_with_noun
from subscribers.errors import ApplicationError


@click.command(
    epilog="""\b
Examples:
  digest backup                                              to backup.folder, like scheduled backups
  digest backup /backups/digest-2026-11-24.zip
  digest backup /backups/digest-2026-11-24.zip --json

\b
A backup doesn't contain the key file (without it, addresses can't be read), digest.toml, left.log (a restore needs the
newest one), or the outbox (its files contain unencrypted addresses). Keep copies of the first three separately.

\b
Exit codes:
  0  written and verified
  1  no passphrase, the file exists or can't be written, or the ledger in it failed verification
  2  usage error"""
)
@click.argument("file", type=FILE_PATH, required=False)
@json_option("Print the backup's contents as JSON.")
@pass_command_context
def backup(context: CommandContext, file: Path | None, as_json: bool) -> None:
    """Back up the database to a FILE that only you can read. You don't need to stop anything.

    Without FILE, the backup goes to the folder in the settings, is verified by restoring it to a temporary database, and
    outdated backups are deleted. It's encrypted with the passphrase in DIGEST_BACKUP_PASSPHRASE or DIGEST_BACKUP_PASSPHRASE_FILE;
    if neither is set, the command asks for one. Subscriber addresses in it also need the key file. It can be restored into
    SQLite and PostgreSQL.
    """
    folder_backup = None
    passphrase = "" if context.settings.backup_passphrase else _ask_new_passphrase()
    with show_progress("Backing up", is_wanted=not as_json) as bar:
        if file is None:
            folder_backup = context.act(
                backups.back_up_into_folder, passphrase=passphrase, now=context.now(), progress=bar
            )
            file, manifest = folder_backup.file, folder_backup.manifest
        else:
            manifest = context.act(backups.create_backup, file, passphrase=passphrase, now=context.now(), progress=bar)
    _show_backup(context, file, manifest, as_json=as_json)
    if folder_backup is None:
        return
    if not as_json:
        click.echo(_describe_proof(folder_backup.proof))
        for name in folder_backup.deleted:
            click.echo(f"deleted: {name}")
    if not folder_backup.proof.sound:
        raise SystemExit(1)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _ask_new_passphrase() -> str:
    """Ask for the passphrase of a backup.

    If there's no terminal, return an empty string.
    """
    if not _is_terminal():
        return ""
    click.echo(
        "The backup contains team addresses, so it's encrypted. It can't be restored without the passphrase.", err=True
    )
    passphrase = click.prompt(
        "Passphrase", hide_input=True, confirmation_prompt=True, err=True, value_proc=_check_typed
    )
    return str(passphrase)


def _check_typed(passphrase: str) -> str:
    try:
        check_new_passphrase(passphrase)
    except BackupError as exc:
        raise click.BadParameter(str(exc)) from None
    return passphrase


def _show_backup(context: CommandContext, file: Path, manifest: ArchiveManifest, *, as_json: bool) -> None:
    rows = {name: part.rows for name, part in manifest.tables.items()}
    size = file.stat().st_size
    if as_json:
        result = {"file": str(file), "bytes": size, "encrypted": True, "rows": rows}
        result["made_at"] = manifest.made_at
        print_json(result)
        return
    click.echo(
        f"{file}: {manifest.people:,} people, {sum(rows.values()):,} rows, {size:,} bytes, "
        f"verified.\n{_describe_keys(context)}"
    )
    click.echo(
        "The backup can't be restored without the passphrase, so keep a copy of the passphrase somewhere else, too."
    )


def _describe_keys(context: CommandContext) -> str:
    """Return a sentence about the keys that decrypt a backup's addresses.

    If the key file doesn't decrypt them, the sentence says why.
    """
    try:
        _ = context.installation.keys
    except ApplicationError as exc:
        return f"{context.settings.key_file} doesn't decrypt its addresses. {exc}"
    return f"Only {context.settings.key_file} can decrypt its addresses, so keep a copy of that file somewhere else."


@click.command(
    epilog="""\b
Examples:
  digest restore /backups/digest-2026-11-24.zip --check      only test the backup
  digest restore /backups/digest-2026-11-24.zip              restore to an empty installation
  digest restore /backups/digest-2026-11-24.zip --replace    replace the current database

\b
Before you restore, put the key file from the time of the backup and the newest left.log in DIGEST_HOME, and stop
'digest serve'. After the restore, all sending is paused until 'digest resume --all'. The last lines list what to do first.

\b
Exit codes:
  0  restored or tested
  1  not restored, with no changes made; or restored, but its ledger failed verification
  2  usage error"""
)
@click.argument("file", type=FILE_PATH)
@flag("--check", help="Test the backup in a temporary database without changing anything.")
@flag("--replace", help="Restore even if the database isn't empty. Its contents are moved aside.")
@yes_option("Don't ask for confirmation before replacing anything.")
@json_option("Print the result as JSON.")
@pass_command_context
def restore(context: CommandContext, file: Path, check: bool, replace: bool, yes: bool, as_json: bool) -> None:
    """Restore a backup, apply later unsubscribes, and pause all sending.

    left.log in DIGEST_HOME records who unsubscribed, bounced, complained, or was erased after the backup was made.
    """
    now = context.now()
    actor = _permitted_actor(context, now)
    settings = _ask_passphrase(context.settings, file)
    if replace and not check and not yes:
        click.confirm(
            "The current database will be moved aside and replaced with the backup. Continue?", abort=True, err=True
        )
    with (
        prefix_refusals("Not restored"),
        show_progress("Checking" if check else "Restoring", is_wanted=not as_json) as bar,
    ):
        result = None
        if check:
            proof = backups.rehearse_restore(settings, file, progress=bar)
        else:
            result = backups.restore_backup(settings, actor, file, replace=replace, now=now, progress=bar)
            proof = result.proof
    lines = [_describe_proof(proof), *(_describe_restore(result, settings.left_log) if result else ())]
    print_result(_restore_as_json(proof, result), lines, as_json=as_json)
    if not proof.sound:
        raise SystemExit(1)


def _ask_passphrase(settings: Settings, file: Path) -> Settings:
    """Return the settings with the passphrase of a backup.

    If a passphrase is needed and there's a terminal, ask for it.
    """
    if not _is_terminal() or not backups.needs_passphrase(settings, file):
        return settings
    passphrase = click.prompt("Passphrase of the backup", hide_input=True, err=True)
    return settings.model_copy(update={"backup_passphrase": SecretStr(passphrase)})


def _permitted_actor(context: CommandContext, now: datetime) -> Actor:
    """Return the actor of a restore if the actor is allowed to restore.

    A staff member is looked up in the existing database, which is then closed.
    """
    if context.acting_email is None:
        return context.terminal
    with open_installation(context.settings) as installation:
        actor = context.identify_actor(installation)
        backups.require_restore_permission(installation, actor, now=now)
    return actor


def _describe_proof(proof: LedgerProof) -> str:
    counts = f"{count_with_noun(proof.people, 'person', 'people')}, {count_with_noun(proof.links, 'event')}, {count_with_noun(proof.seals, 'seal')}"
    if proof.sound:
        return f"{counts}. All rows, records, and seals passed verification."
    return f"{counts}. The consent ledger failed verification. Run 'digest subscribers verify' for details."


def _describe_restore(result: RestoreResult, left_log: Path) -> Iterator[str]:
    yield f"Restored the backup made {result.manifest.made_at}."
    if result.set_aside_as:
        yield (
            f"The previous contents were moved to {result.set_aside_as}. They contain personal data, so delete "
            "them when everything works."
        )
    departed = sorted(result.departures.departed.items())
    merged = ", ".join(f"{count:,} {kind}" for kind, count in departed) or "none"
    if result.unsubscribe_log_found:
        yield (
            f"People who unsubscribed after the backup, from {left_log}: {merged}; "
            f"{result.departures.unknown_hashes:,} other addresses suppressed."
        )
    else:
        yield (
            f"{left_log} is missing, so people who unsubscribed after the backup would be emailed again. Before "
            "you send anything, find its newest copy, put it there, and restore again. If no one has ever "
            "unsubscribed, the file doesn't exist yet, and you can go on."
        )
    yield "All sending is paused. Next steps:"
    for batch in result.departures.undone_imports:
        yield f'  digest subscribers import --undo {batch} --reason "…"   it was undone after the backup'
    for number in result.departures.changed_preferences:
        yield f"  digest subscribers show {number}          preferences: an admin changed them, or their owner put them back, after the backup"
    yield "  digest subscribers pull --all      gets unsubscribes from a provider's lists"
    for name, count in result.open_editions.items():
        if count:
            yield f"  digest uncertain {name}          {count:,} of its messages may have been sent since the backup"
        else:
            yield f"  digest cancel {name}             if it was sent after the backup (here, it isn't sent yet)"
    if result.uncertain_notices:
        yield f"  digest uncertain notices          {result.uncertain_notices:,} may have been sent since the backup"
    yield "  digest doctor                      checks everything"
    yield "  digest resume --all                if nothing else is sending to the same list"


def _restore_as_json(proof: LedgerProof, result: RestoreResult | None) -> dict[str, object]:
    proof_fields = pick_json_fields(proof, "sound", "people", "links")
    if result is None:
        return proof_fields
    return proof_fields | {
        "made_at": result.manifest.made_at,
        "aside": result.set_aside_as,
        "journal": result.unsubscribe_log_found,
        "departed": dict(result.departures.departed),
        "strangers_barred": result.departures.unknown_hashes,
        "undone_imports": result.departures.undone_imports,
        "changed_preferences": result.departures.changed_preferences,
        "unfinished": list(result.open_editions),
        "uncertain": result.open_editions,
        "uncertain_notices": result.uncertain_notices,
        "held": True,
    }

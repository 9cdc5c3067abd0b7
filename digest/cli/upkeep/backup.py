"""`digest backup` and `digest restore`: one file with everything, and back."""

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
    label_refusals,
    pass_command_context,
    pick_fields,
    print_answer,
    print_json,
    yes_option,
)
from digest.cli.terminal import show_progress
from digest.installation.acts import Actor
from digest.installation.opened import open_installation
from digest.settings import Settings
from subscribers.consent.seals import LedgerProof
from subscribers.errors import ApplicationError


@click.command(
    epilog="""\b
Examples:
  digest backup                                              into backup.folder, as the clock does it
  digest backup /backups/digest-2026-11-24.zip
  digest backup /backups/digest-2026-11-24.zip --json

\b
Not in it, so keep them apart: the key file (without it nobody can read an address), digest.toml, left.log (a restore
needs the newest one), and the outbox, whose files hold addresses in clear.

\b
Exit codes:
  0  written, read again and proved
  1  there is no passphrase, or the file exists or can't be written; or the ledger in it is broken
  2  wrong use"""
)
@click.argument("file", type=FILE_PATH, required=False)
@json_option("Print what it holds as JSON.")
@pass_command_context
def backup(context: CommandContext, file: Path | None, as_json: bool) -> None:
    """Write every row of the database to one FILE that only you can read. Work goes on meanwhile.

    Without FILE, the backup goes into the folder from the settings, is restored into a scratch database to prove it, and
    replaces outdated ones. It's encrypted to the passphrase in DIGEST_BACKUP_PASSPHRASE or DIGEST_BACKUP_PASSPHRASE_FILE;
    if neither is set, the command asks for one. Subscriber addresses in it also need the key file. It can be restored into
    SQLite and PostgreSQL.
    """
    done = None
    passphrase = "" if context.settings.backup_passphrase else _ask_new_passphrase()
    with show_progress("Backing up", shown=not as_json) as bar:
        if file is None:
            done = context.act(backups.back_up_into_folder, passphrase=passphrase, now=context.now(), progress=bar)
            file, manifest = done.file, done.manifest
        else:
            manifest = context.act(backups.create_backup, file, passphrase=passphrase, now=context.now(), progress=bar)
    _show_backup(context, file, manifest, as_json=as_json)
    if done is None:
        return
    if not as_json:
        click.echo(_describe_proof(done.proof))
        for name in done.deleted:
            click.echo(f"deleted: {name}")
    if not done.proof.sound:
        raise SystemExit(1)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _ask_new_passphrase() -> str:
    """Ask for the passphrase of one backup; empty where nobody can be asked."""
    if not _is_terminal():
        return ""
    click.echo(
        "The backup holds staff addresses, so it's encrypted. It can't be restored without the passphrase.", err=True
    )
    passphrase = click.prompt(
        "Passphrase", hide_input=True, confirmation_prompt=True, err=True, value_proc=_check_typed
    )
    return str(passphrase)


def _check_typed(passphrase: str) -> str:
    try:
        backups.check_new_passphrase(passphrase)
    except BackupError as exc:
        raise click.BadParameter(str(exc)) from None
    return passphrase


def _show_backup(context: CommandContext, file: Path, manifest: ArchiveManifest, *, as_json: bool) -> None:
    rows = {name: part.rows for name, part in manifest.tables.items()}
    size = file.stat().st_size
    if as_json:
        found = {"file": str(file), "bytes": size, "encrypted": True, "rows": rows}
        found["made_at"] = manifest.made_at
        print_json(found)
        return
    click.echo(
        f"{file}: {manifest.people:,} people, {sum(rows.values()):,} rows, {size:,} bytes; read again and proved.\n"
        f"{_describe_keys(context)}"
    )
    click.echo("It can't be restored without the passphrase, so keep that somewhere else, too.")


def _describe_keys(context: CommandContext) -> str:
    """Say with which keys the addresses of a backup open: not with a file that belongs to another database."""
    try:
        _ = context.installation.keys
    except ApplicationError as exc:
        return f"Its addresses do not open with {context.settings.key_file}. {exc}"
    return f"Its addresses open with {context.settings.key_file} alone: keep a copy of that file elsewhere."


@click.command(
    epilog="""\b
Examples:
  digest restore /backups/digest-2026-11-24.zip --check      would it work? nothing is changed
  digest restore /backups/digest-2026-11-24.zip              into an empty installation
  digest restore /backups/digest-2026-11-24.zip --replace    in the place of what is there

\b
Before: put the key file of that time and the newest left.log into DIGEST_HOME, and stop 'digest serve'.
After: nothing leaves until 'digest resume --all'; the last lines say what to look at first.

\b
Exit codes:
  0  restored, or checked
  1  it cannot be done, and nothing has changed; or its ledger is broken, which is said
  2  wrong use"""
)
@click.argument("file", type=FILE_PATH)
@flag("--check", help="Load it into a database that is thrown away; change nothing.")
@flag("--replace", help="Do it though the database holds something, which is set aside.")
@yes_option("Do not ask before something is replaced.")
@json_option("Print what came of it as JSON.")
@pass_command_context
def restore(context: CommandContext, file: Path, check: bool, replace: bool, yes: bool, as_json: bool) -> None:
    """Put a backup in the place of the database, tell it of all who left since, and hold it.

    `left.log` in DIGEST_HOME knows who left, bounced, complained or was erased after the backup was made.
    """
    now = context.now()
    actor = _permitted_actor(context, now)
    settings = _ask_passphrase(context.settings, file)
    if replace and not check and not yes:
        click.confirm(
            "The database that is there is set aside, and the backup takes its place. Go on?", abort=True, err=True
        )
    with label_refusals("Not restored"), show_progress("Checking" if check else "Restoring", shown=not as_json) as bar:
        result = None
        if check:
            proof = backups.rehearse_restore(settings, file, progress=bar)
        else:
            result = backups.restore_backup(settings, actor, file, replace=replace, now=now, progress=bar)
            proof = result.proof
    lines = [_describe_proof(proof), *(_describe_restore(result, settings.left_log) if result else ())]
    print_answer(_restore_as_json(proof, result), lines, as_json=as_json)
    if not proof.sound:
        raise SystemExit(1)


def _ask_passphrase(settings: Settings, file: Path) -> Settings:
    """Return the settings with the passphrase of a backup, asked for where somebody sits at a terminal and it's needed."""
    if not _is_terminal() or not backups.needs_passphrase(settings, file):
        return settings
    passphrase = click.prompt("Passphrase of the backup", hide_input=True, err=True)
    return settings.model_copy(update={"backup_passphrase": SecretStr(passphrase)})


def _permitted_actor(context: CommandContext, now: datetime) -> Actor:
    """Find who restores. A staff member is looked up in the database that is there, which is closed again."""
    if context.acting_email is None:
        return context.terminal
    with open_installation(context.settings) as installation:
        actor = context.identify_actor(installation)
        backups.check_may_restore(installation, actor, now=now)
    return actor


def _describe_proof(proof: LedgerProof) -> str:
    counts = f"{proof.people:,} people, {proof.links:,} links, {proof.seals:,} seals"
    if proof.sound:
        return f"{counts}: every row is as it was written, every chain and every seal holds."
    return f"{counts}: the ledger in it is broken. 'digest subscribers verify' says where."


def _describe_restore(result: RestoreResult, left_log: Path) -> Iterator[str]:
    yield f"Restored as of {result.manifest.made_at}."
    if result.set_aside_as:
        yield f"What was there is set aside as {result.set_aside_as}; remove it once all is well: it holds people's data."
    departed = sorted(result.departures.departed.items())
    merged = ", ".join(f"{count:,} {kind}" for kind, count in departed) or "none"
    if result.departure_log_found:
        yield f"Departures since then, by {left_log}: {merged}; {result.departures.unknown_hashes:,} other addresses barred."
    else:
        yield (
            f"{left_log} is not there: nobody knows who left after the backup was made. Find its newest copy, put it "
            "there, and restore again, before anything is sent."
        )
    yield "The installation is held: nothing leaves. Next:"
    yield "  digest subscribers pull --all      where a provider keeps lists: what they know of departures"
    for name, count in result.open_editions.items():
        if count:
            yield f"  digest uncertain {name}          {count:,} of its messages may have gone out since the copy was made"
        else:
            yield f"  digest cancel {name}             if it went out since: in this copy it was not sent yet"
    yield "  digest doctor                      does everything stand where it should?"
    yield "  digest resume --all                     when nothing else sends to the same list"


def _restore_as_json(proof: LedgerProof, result: RestoreResult | None) -> dict[str, object]:
    proof_fields = pick_fields(proof, "sound", "people", "links")
    if result is None:
        return proof_fields
    return proof_fields | {
        "made_at": result.manifest.made_at,
        "aside": result.set_aside_as,
        "journal": result.departure_log_found,
        "departed": dict(result.departures.departed),
        "strangers_barred": result.departures.unknown_hashes,
        "unfinished": list(result.open_editions),
        "uncertain": result.open_editions,
        "held": True,
    }

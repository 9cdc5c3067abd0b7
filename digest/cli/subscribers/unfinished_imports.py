"""Imports that were begun and not finished: listed, and dropped."""

import json
from datetime import UTC, datetime

import click

from digest.cli.common import CommandRefusedError, record_audit
from digest.cli.context import CommandContext
from subscribers.transfer.abandonment import abandon_batch, count_batch_people
from subscribers.transfer.imports import list_unfinished_imports


def print_unfinished_imports(context: CommandContext, *, as_json: bool) -> None:
    """Say which imports were not finished, with how many people each."""
    with context.install.database.read() as session:
        found = [(one, count_batch_people(session, one.batch)) for one in list_unfinished_imports(session)]
    if as_json:
        rows = [
            {
                "batch": one.batch,
                "origin": one.origin,
                "begun": one.started_at.isoformat(timespec="seconds"),
                "file_hash": one.file_hash,
                "people": people,
            }
            for one, people in found
        ]
        click.echo(json.dumps(rows))
        return
    for one, people in found:
        click.echo(f"{one.sentence} People in it: {people:,}.")
    if not found:
        click.echo("Every import was finished.")


def abandon_import(context: CommandContext, batch: int, *, confirmed: bool) -> None:
    """Drop an import that was not finished, once somebody has confirmed it.

    Raises:
        CommandRefusedError: there is no such import, or it was finished.
    """
    database, now = context.install.database, datetime.now(UTC)
    refused = f"There is no unfinished import {batch}. 'digest subscribers import --list' names them."
    with database.read() as session:
        if batch not in {one.batch for one in list_unfinished_imports(session)}:
            raise CommandRefusedError(refused)
        people = count_batch_people(session, batch)
    if not confirmed:
        click.confirm(
            f"Import {batch} brought {people:,} people so far; nobody of them is mailed. Drop it?", abort=True
        )
    done = abandon_batch(database, batch, actor=context.actor.name, now=now)
    if done is None:
        raise CommandRefusedError(refused)
    with database.write() as session:
        detail = {"people": done.removed, "stay": done.kept}
        record_audit(session, context, "import abandoned", f"import {batch}", detail)
    click.echo(f"Dropped: import {batch}, {done.removed:,} people.")
    if done.kept:
        click.echo(f"{done.kept:,} were there before, or have acted since, and stand as if it had never been.")

"""Imports that were begun and not finished: listed, and dropped."""

import json
from datetime import UTC, datetime

import click

from digest.cli.acting import Refused, audit
from digest.cli.context import Desk
from subscribers.transfer.abandoning import abandon, people_of
from subscribers.transfer.importing import unfinished


def list_unfinished(desk: Desk, *, as_json: bool) -> None:
    """Say which imports were not finished, with how many people each."""
    with desk.install.database.read() as session:
        found = [(one, people_of(session, one.batch)) for one in unfinished(session)]
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


def abandon_import(desk: Desk, batch: int, *, asked: bool) -> None:
    """Drop an import that was not finished, once somebody has confirmed it.

    Raises:
        Refused: there is no such import, or it was finished.
    """
    database, now = desk.install.database, datetime.now(UTC)
    refused = f"There is no unfinished import {batch}. 'digest subscribers import --list' names them."
    with database.read() as session:
        if batch not in {one.batch for one in unfinished(session)}:
            raise Refused(refused)
        people = people_of(session, batch)
    if not asked:
        click.confirm(
            f"Import {batch} brought {people:,} people so far; nobody of them is mailed. Drop it?", abort=True
        )
    done = abandon(database, batch, actor=desk.actor, now=now)
    if done is None:
        raise Refused(refused)
    with database.write() as session:
        detail = {"people": done.gone, "stay": done.stay}
        audit(session, desk, "import abandoned", f"import {batch}", detail)
    click.echo(f"Dropped: import {batch}, {done.gone:,} people.")
    if done.stay:
        click.echo(
            f"{done.stay:,} were there before, or have acted since, and stand as if it had never been."
        )

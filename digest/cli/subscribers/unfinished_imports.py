"""Imports that were begun and not finished: listed, and dropped."""

import json
from datetime import UTC, datetime

import click

from digest.app import lists
from digest.cli.context import CommandContext


def print_unfinished_imports(context: CommandContext, *, as_json: bool) -> None:
    """Print which imports were not finished, with how many people each."""
    unfinished = lists.list_unfinished_imports(context.installation, context.actor, now=datetime.now(UTC))
    if as_json:
        rows = [
            {
                "batch": batch.batch,
                "origin": batch.origin,
                "begun": batch.started_at.isoformat(timespec="seconds"),
                "file_hash": batch.file_hash,
                "people": people,
            }
            for batch, people in unfinished
        ]
        click.echo(json.dumps(rows))
        return
    for batch, people in unfinished:
        click.echo(f"{batch.sentence} People in it: {people:,}.")
    if not unfinished:
        click.echo("Every import was finished.")


def abandon_import(context: CommandContext, batch: int, *, confirmed: bool) -> None:
    """Drop an import that was not finished, once somebody has confirmed it.

    Raises:
        UnknownImportError: there is no such import, or it was finished.
    """
    installation, actor, now = context.installation, context.actor, datetime.now(UTC)
    people = lists.count_unfinished_import(installation, actor, batch, now=now)
    if not confirmed:
        click.confirm(
            f"Import {batch} brought {people:,} people so far; nobody of them is mailed. Drop it?", abort=True
        )
    result = lists.abandon_import(installation, actor, batch, now=now)
    click.echo(f"Dropped: import {batch}, {result.removed:,} people.")
    if result.kept:
        click.echo(f"{result.kept:,} were there before, or have acted since, and stand as if it had never been.")

"""Databases with many people and an approved edition, created once and copied for each test."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.sample_installation import benchmark_settings, create_ready_database
from tests.migrated_databases import migrated_template, write_migrated_file
from tests.run_database import run_on_server, sibling_database_url

_database_numbers = count()


@dataclass(frozen=True)
class PreparedDatabase:
    """An installation's database to copy from: `copy_into` makes a copy in a folder and returns its URL."""

    subscribers: int
    copy_into: Callable[[Path], str]


def prepare_sqlite(folder: Path, subscribers: int, kilobytes: int) -> PreparedDatabase:
    """Prepare one in a file."""
    settings = benchmark_settings(folder)
    settings.home.mkdir(parents=True, exist_ok=True)
    write_migrated_file(folder / "digest.db")
    create_ready_database(settings, subscribers, kilobytes=kilobytes).close()

    def copy(home: Path) -> str:
        shutil.copyfile(folder / "digest.db", home / "digest.db")
        return benchmark_settings(home).effective_database_url

    return PreparedDatabase(subscribers, copy)


def prepare_postgresql(folder: Path, server_url: str, subscribers: int, kilobytes: int) -> PreparedDatabase:
    """Prepare one in a running server."""
    template = f"crowd_{next(_database_numbers)}"
    run_on_server(server_url, f"CREATE DATABASE {template} TEMPLATE {migrated_template(server_url)}")
    prepared = sibling_database_url(server_url, template)
    create_ready_database(
        benchmark_settings(folder).model_copy(update={"database_url": prepared}), subscribers, kilobytes=kilobytes
    ).close()

    def copy(_home: Path) -> str:
        name = f"copy_{next(_database_numbers)}"
        run_on_server(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
        return sibling_database_url(server_url, name)

    return PreparedDatabase(subscribers, copy)

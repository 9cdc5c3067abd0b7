"""Databases with many people and an approved edition: made once, then copied for each test."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.people import prepare, settings_in
from tests.conftest import run_on_server, url_of_database

_serial = count()


@dataclass(frozen=True)
class Crowd:
    """An installation's database that is copied, not used: `copy` gives the URL of a copy in a folder."""

    readers: int
    copy: Callable[[Path], str]


def sqlite_crowd(folder: Path, readers: int, kilobytes: int) -> Crowd:
    """Make one in a file."""
    settings = settings_in(folder)
    prepare(settings, readers, kilobytes=kilobytes).close()

    def copy(home: Path) -> str:
        shutil.copyfile(folder / "digest.db", home / "digest.db")
        return settings_in(home).database

    return Crowd(readers, copy)


def postgresql_crowd(folder: Path, url: str, readers: int, kilobytes: int) -> Crowd:
    """Make one in a server that is running."""
    template = f"crowd_{next(_serial)}"
    run_on_server(url, f"CREATE DATABASE {template} TEMPLATE template0")
    prepared = url_of_database(url, template)
    prepare(
        settings_in(folder).model_copy(update={"database_url": prepared}), readers, kilobytes=kilobytes
    ).close()

    def copy(_home: Path) -> str:
        name = f"copy_{next(_serial)}"
        run_on_server(url, f"CREATE DATABASE {name} TEMPLATE {template}")
        return url_of_database(url, name)

    return Crowd(readers, copy)

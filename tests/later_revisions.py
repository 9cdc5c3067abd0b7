"""Two schema revisions that only tests have, so that upgrades are tested while the product has a single revision.

`PREVIOUS_REVISION` stands for the schema of the previous version. It has what the models no longer know: a table, and a column of
editions. `LATER_REVISION` stands for this version's. It moves the table's rows, drops both, and adds nothing, so the models
describe it. Like all migrations, they write no row into an empty database, because a restore inserts its rows there.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from digest.store import engine
from digest.store.engine import newest_schema_revision

PREVIOUS_REVISION, LATER_REVISION = "1998", "1999"
MOVED_VALUE = "moved by the later revision"  # of the installation; the name of its row
_HEAD = '''"""{subject}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"

'''
_PREVIOUS_CODE = """
def upgrade() -> None:
    op.create_table(
        "earlier_value",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute(
        "INSERT INTO earlier_value (name, value, at) "
        "SELECT '{value}', '{{}}', max(release_at) FROM edition HAVING count(*) > 0"
    )
    op.add_column("edition", sa.Column("earlier_number", sa.Integer))
    op.execute("UPDATE edition SET earlier_number = number")
"""
_LATER_CODE = """
def upgrade() -> None:
    op.execute("INSERT INTO memo (name, value, at) SELECT name, value, at FROM earlier_value")
    op.drop_table("earlier_value")
    op.drop_column("edition", "earlier_number")
"""


def write_revision(migrations: Path, revision: str, before: str, code: str) -> None:
    """Write a migration that follows another one."""
    head = _HEAD.format(subject=f"Revision {revision} of the tests", revision=revision, before=before)
    (migrations / "versions" / f"{revision}_of_the_tests.py").write_text(head + code, "utf-8")


def write_later_revisions(migrations: Path, newest: str) -> None:
    """Add both revisions to a folder of migrations whose newest one is given."""
    write_revision(migrations, PREVIOUS_REVISION, newest, _PREVIOUS_CODE.format(value=MOVED_VALUE))
    write_revision(migrations, LATER_REVISION, PREVIOUS_REVISION, _LATER_CODE)


def copy_migrations(folder: Path) -> Path:
    """Copy the product's migrations into a folder; return the copy."""
    return Path(shutil.copytree(engine.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__")))


@contextmanager
def use_migrations(migrations: Path) -> Iterator[None]:
    """Have this process use a folder of migrations until the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "MIGRATIONS", migrations)
        newest_schema_revision.cache_clear()
        yield
    newest_schema_revision.cache_clear()

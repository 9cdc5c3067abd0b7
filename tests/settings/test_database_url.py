"""A database on another machine is reached only over verified TLS (ASVS 12.3.1, 12.3.2)."""

import pytest
from pydantic import ValidationError

from digest.backups.archive import BackupError
from digest.backups.migration import parse_target_url
from digest.settings import Settings

LOCAL = [
    "",
    "sqlite:////srv/digest.db",
    "postgresql+psycopg://digest:secret@127.0.0.1:5432/digest",
    "postgresql+psycopg://digest@localhost/digest",
    "postgresql+psycopg://digest@[::1]/digest",
    "postgresql+psycopg://digest@/digest",
    "postgresql+psycopg://digest@/digest?host=/var/run/postgresql",
    "postgresql+psycopg:///digest?host=%2Fvar%2Frun%2Fpostgresql",
    "postgresql+psycopg://digest@db.example/digest?sslmode=verify-full",
    "postgresql+psycopg://digest@db.example/digest?connect_timeout=3&sslmode=verify-ca",
]
IN_CLEAR = [
    "postgresql+psycopg://digest:secret@db.example/digest",
    "postgresql://digest:secret@10.1.2.3/digest",
    "postgresql+psycopg://digest@db.example/digest?sslmode=prefer",
    "postgresql+psycopg://digest@db.example/digest?sslmode=require",  # encrypted, to whoever answers
    "postgresql+psycopg://digest@db.example/digest?sslmode=verify-full&sslmode=disable",
    "postgresql+psycopg://digest@/digest?host=db.example",
    "postgresql+psycopg://digest@127.0.0.1/digest?hostaddr=10.1.2.3",
    "postgresql+psycopg://digest@127.0.0.1/digest?host=127.0.0.1,db.example",
]


@pytest.mark.parametrize("url", LOCAL)
def test_a_database_here_or_behind_verified_tls_is_taken(url: str) -> None:
    assert Settings(database_url=url).database_url == url


@pytest.mark.parametrize("url", IN_CLEAR)
def test_a_database_elsewhere_without_verified_tls_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"DIGEST_DATABASE_URL: .*sslmode=verify-full") as caught:
        Settings(database_url=url)
    assert "secret" not in caught.value.errors()[0]["msg"]
    with pytest.raises(BackupError, match=r"--to: .*sslmode=verify-full"):
        parse_target_url(url)

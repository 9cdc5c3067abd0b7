from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from digest.db import Database
from subscribers import onetime
from subscribers.onetime import Standing
from subscribers.signup_db import OneTime

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
WEEK = NOW + timedelta(days=7)


def issue(database: Database, purpose: onetime.Purpose = "erase") -> str:
    with database.write() as session:
        return onetime.issue(session, purpose, None, now=NOW, expires_at=WEEK, serial="4")


def test_a_token_has_128_random_bits_and_only_its_hash_is_stored(database: Database) -> None:
    tokens = {issue(database) for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(t) == onetime.LENGTH for t in tokens)
    with database.read() as session:
        stored = {row.hash for row in session.scalars(select(OneTime))}
    assert stored == {onetime.hashed(t) for t in tokens}
    assert not stored & tokens


def test_it_works_once_and_looking_uses_nothing(database: Database) -> None:
    token = issue(database)
    with database.read() as session:
        for _ in range(3):
            found = onetime.look(session, token, "erase", now=NOW)
            assert (found.standing, found.serial, found.expires_at) == (Standing.FRESH, "4", WEEK)
    with database.write() as session:
        assert onetime.use(session, token, "erase", now=NOW).standing is Standing.FRESH
        assert onetime.use(session, token, "erase", now=NOW).standing is Standing.USED
    with database.read() as session:
        assert onetime.look(session, token, "erase", now=WEEK).standing is Standing.USED


def test_it_is_worth_nothing_for_another_purpose_or_after_its_time(database: Database) -> None:
    token = issue(database)
    with database.write() as session:
        assert onetime.use(session, token, "my data", now=NOW).standing is Standing.UNKNOWN
        assert onetime.use(session, token, "erase", now=WEEK).standing is Standing.EXPIRED
        assert onetime.use(session, token, "erase", now=NOW).standing is Standing.FRESH


def test_what_is_no_token_is_unknown(sqlite: Database) -> None:
    token = issue(sqlite)
    with sqlite.read() as session:
        for odd in ("", token[:-1], token + "A", token.swapcase(), "é" * 22, "' OR 1=1 --" * 2):
            assert onetime.look(session, odd, "erase", now=NOW).standing is Standing.UNKNOWN


def test_old_ends_are_forgotten_and_open_confirmations_are_not(database: Database) -> None:
    used, ran_out, asked = issue(database), issue(database, "my data"), issue(database, "confirm")
    later = WEEK + timedelta(days=61)
    with database.write() as session:
        onetime.use(session, used, "erase", now=NOW)
        onetime.tidy(session, now=WEEK)
        assert onetime.look(session, used, "erase", now=WEEK).standing is Standing.USED
        onetime.tidy(session, now=later)
        assert onetime.look(session, used, "erase", now=later).standing is Standing.UNKNOWN
        assert onetime.look(session, ran_out, "my data", now=later).standing is Standing.UNKNOWN
        assert onetime.look(session, asked, "confirm", now=later).standing is Standing.EXPIRED

from datetime import timedelta

import pytest
from sqlalchemy import select

from digest.store.engine import Database
from subscribers.store import one_time_tokens
from subscribers.store.one_time_tokens import TokenState
from subscribers.store.signup_models import OneTimeToken
from tests.moments import DRAFTING as NOW

WEEK = NOW + timedelta(days=7)


def issue(database: Database, purpose: one_time_tokens.OneTimePurpose = "erase") -> str:
    with database.write() as session:
        return one_time_tokens.issue_token(session, purpose, None, now=NOW, expires_at=WEEK, serial="4")


def test_a_token_has_128_random_bits_and_only_its_hash_is_stored(database: Database) -> None:
    tokens = {issue(database) for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(t) == one_time_tokens.TOKEN_LENGTH for t in tokens)
    with database.read() as session:
        stored = {row.hash for row in session.scalars(select(OneTimeToken))}
    assert stored == {one_time_tokens.hash_token(t) for t in tokens}
    assert not stored & tokens


@pytest.mark.takes_turns
def test_it_works_once_and_looking_uses_nothing(database: Database) -> None:
    token = issue(database)
    with database.read() as session:
        for _ in range(3):
            link = one_time_tokens.look_up_token(session, token, "erase", now=NOW)
            assert (link.state, link.serial, link.expires_at) == (TokenState.FRESH, "4", WEEK)
    with database.write() as session:
        assert one_time_tokens.use_token(session, token, "erase", now=NOW).state is TokenState.FRESH
        assert one_time_tokens.use_token(session, token, "erase", now=NOW).state is TokenState.USED
    with database.read() as session:
        assert one_time_tokens.look_up_token(session, token, "erase", now=WEEK).state is TokenState.USED


@pytest.mark.takes_turns
def test_it_is_worth_nothing_for_another_purpose_or_after_its_time(database: Database) -> None:
    token = issue(database)
    with database.write() as session:
        assert one_time_tokens.use_token(session, token, "my data", now=NOW).state is TokenState.UNKNOWN
        assert one_time_tokens.use_token(session, token, "erase", now=WEEK).state is TokenState.EXPIRED
        assert one_time_tokens.use_token(session, token, "erase", now=NOW).state is TokenState.FRESH


def test_what_is_no_token_is_unknown(one_database: Database) -> None:
    token = issue(one_database)
    with one_database.read() as session:
        for odd in ("", token[:-1], token + "A", token.swapcase(), "é" * 22, "' OR 1=1 --" * 2):
            assert one_time_tokens.look_up_token(session, odd, "erase", now=NOW).state is TokenState.UNKNOWN


@pytest.mark.takes_turns
def test_old_ends_are_forgotten_and_open_confirmations_are_not(database: Database) -> None:
    used, ran_out, open_token = issue(database), issue(database, "my data"), issue(database, "confirm")
    later = WEEK + timedelta(days=61)
    with database.write() as session:
        one_time_tokens.use_token(session, used, "erase", now=NOW)
        one_time_tokens.delete_old_tokens(session, now=WEEK)
        assert one_time_tokens.look_up_token(session, used, "erase", now=WEEK).state is TokenState.USED
        one_time_tokens.delete_old_tokens(session, now=later)
        assert one_time_tokens.look_up_token(session, used, "erase", now=later).state is TokenState.UNKNOWN
        assert one_time_tokens.look_up_token(session, ran_out, "my data", now=later).state is TokenState.UNKNOWN
        assert one_time_tokens.look_up_token(session, open_token, "confirm", now=later).state is TokenState.EXPIRED

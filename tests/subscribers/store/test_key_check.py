"""A key file is checked against the database before any data about people is read or written."""

import pytest

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import suppression
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store.key_check import KeyMismatchError, check_key_match, has_encrypted_data
from subscribers.store.models import ConsentKind
from tests.moments import THURSDAY_NOON as NOW

KEYS, OTHERS = KeyRing.from_seed(b"ours"), KeyRing.from_seed(b"another file's")


def _add_person(database: Database, keys: KeyRing, email: str) -> None:
    evidence = ConsentEvidence(
        wording="Please send me the weekly digest.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="double opt-in",
        actor="terminal:eve",
        agreed_at=NOW,
        kind=ConsentKind.CONFIRMED,
    )
    with database.write() as session:
        add_subscriber(session, keys, email, evidence=evidence, now=NOW)


@pytest.mark.takes_turns
def test_an_empty_database_takes_any_keys(database: Database) -> None:
    with database.read() as session:
        check_key_match(session, KEYS)
        assert not has_encrypted_data(session)


@pytest.mark.takes_turns
def test_keys_that_no_row_names_are_refused(database: Database) -> None:
    _add_person(database, KEYS, "ada@example.org")
    with database.read() as session:
        check_key_match(session, KEYS)
        assert has_encrypted_data(session)
        with pytest.raises(KeyMismatchError, match="digest keys restore FILE"):
            check_key_match(session, OTHERS)


@pytest.mark.takes_turns
def test_a_suppression_alone_tells_whose_keys_they_are(database: Database) -> None:
    with database.write() as session:
        address = read_address("cy@example.org")
        suppression.suppress_without_unsubscribe_log(session, KEYS, address, reason="by an admin", actor="eve", now=NOW)
    with database.read() as session, pytest.raises(KeyMismatchError, match="suppression"):
        check_key_match(session, OTHERS)


@pytest.mark.takes_turns
def test_a_file_that_lacks_the_latest_or_the_oldest_key_is_refused(database: Database) -> None:
    old, new = KEYS, KeyRing.from_seed(b"ours, rotated")
    _add_person(database, old, "ada@example.org")
    _add_person(database, new, "bo@example.org")
    with database.read() as session:
        for half in (old, new):
            with pytest.raises(KeyMismatchError):
                check_key_match(session, half)

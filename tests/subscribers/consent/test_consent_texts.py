"""The consent text: what publishers can write, and the register of every text that was ever used."""

import re
import threading
from datetime import timedelta

import pytest
from sqlalchemy import delete, text, update

from digest.app.subscribers.consent_texts import build_consent_text
from digest.settings import PublicationSettings, Settings, SettingsFileContent
from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import ledger
from subscribers.consent.consent_texts import (
    ConsentText,
    check_consent_template,
    fill_consent_template,
    find_consent_text,
    list_consent_texts,
    register_consent_text,
)
from subscribers.consent.seals import append_seal, find_last_fully_committed_rows, verify_ledger
from subscribers.crypto.keys import KeyRing
from subscribers.signup import permission_requests
from subscribers.store import people
from subscribers.store.models import ConsentKind, PublishedConsentText
from tests.moments import DRAFTING as NOW

ADDRESS = read_address("bo.peep@county.example")
KEYS = KeyRing.from_seed(b"wording tests")
FIRST = build_consent_text(Settings())
SECOND = fill_consent_template("Yes, {name} may write to me on Fridays.", name="HLS.Today", language="en")


# The standard text until November 2026, whose hash is in the records of people who agreed to it.
EARLIER = ConsentText(
    "en",
    "Yes, send me HLS.Today by mail, once a week. I can leave at any time, with one click in every mail. "
    "My address is used for this mail alone and is shared with nobody.",
)


def test_a_new_standard_text_is_a_new_version_and_the_earlier_one_stays(database: Database) -> None:
    with database.write() as session:
        earlier = register_consent_text(session, EARLIER, NOW)
        assert earlier.hash == "74fa20a722537048d62fb5a1b221de20876e3cd01f2920a9dd73dd1d8ffd7cb0"
        assert register_consent_text(session, FIRST, NOW).version == "2"
        assert find_consent_text(session, "1", FIRST) == EARLIER
        assert register_consent_text(session, EARLIER, NOW) == earlier


def test_the_standard_text_changes_only_on_purpose() -> None:
    assert FIRST.hash == "38d6a18951c746b9732602a92d575d9cb26bd6ea4e16c795d522f1b7774274d9"
    french = build_consent_text(
        Settings(file=SettingsFileContent(publication=PublicationSettings(name="Vigie", language="fr")))
    )
    assert (french.language, french.hash) == ("fr", "63eada576c229505f53f791d9e9b68304a849df48d1c8d80895fa66cea76fbaa")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (" \n ", "is blank"),
        ("Yes, send me {nmae} by mail.", "'{nmae}' isn't a placeholder; use only {name}"),
        ("Yes, send me {name} { by mail.", "'{' isn't a placeholder"),
        ("Yes, send me <b>{name}</b> by mail.", "'<b>' would be shown as is"),
        ("{name}: yes.", "too short to say what's sent"),
        ("...........................", "too short to say what's sent"),
        ("Yes, send me\u200e {name} by mail.", "a control character"),
        ("Yes, send me {name} by mail. " * 40, "1159 characters, over the limit of 1000"),
    ],
)
def test_words_that_nobody_could_agree_to_are_refused_with_what_to_do(template: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        check_consent_template(template)


def test_words_are_kept_as_one_line_with_the_name_of_their_day() -> None:
    template = check_consent_template("  Oui, envoyez-moi {name}\n par courriel ; je me désabonne en un clic.  ")
    written = fill_consent_template(template, name="Vigie", language="fr")
    assert written == ConsentText("fr", "Oui, envoyez-moi Vigie par courriel ; je me désabonne en un clic.")
    assert check_consent_template("") == ""


@pytest.mark.takes_turns
def test_another_text_is_another_version_and_one_that_comes_back_has_the_version_that_it_had(
    database: Database,
) -> None:
    french, renamed = ConsentText("fr", FIRST.text), ConsentText("en", FIRST.text.replace("HLS.Today", "Port News"))
    with database.write() as session:
        versions = [
            register_consent_text(session, words, NOW + timedelta(days=day)).version
            for day, words in enumerate((FIRST, SECOND, FIRST, french, renamed, SECOND))
        ]
        assert versions == ["1", "2", "1", "3", "4", "2"]
        kept = list_consent_texts(session)
    assert [(w.version, w.language, w.text) for w in kept] == [
        ("4", "en", renamed.text),
        ("3", "fr", FIRST.text),
        ("2", "en", SECOND.text),
        ("1", "en", FIRST.text),
    ]
    assert [(NOW - w.first_used_at).days for w in kept] == [-4, -3, -1, 0]


def test_a_form_means_the_version_that_it_names_whatever_the_settings_say_now(database: Database) -> None:
    with database.write() as session:
        assert find_consent_text(session, "1", FIRST) == FIRST, "the first reader's form: no text has a version yet"
        assert find_consent_text(session, "2", FIRST) is None
        register_consent_text(session, FIRST, NOW)
        assert find_consent_text(session, "1", SECOND) == FIRST
        assert find_consent_text(session, "2", SECOND) == SECOND, "it gets that version when it is first used"
        assert find_consent_text(session, "2", FIRST) is None
        for nonsense in ("0", "99", "one", "1.0", "²", "9" * 40, " 1"):
            assert find_consent_text(session, nonsense, FIRST) is None


def test_two_processes_that_meet_new_words_at_once_give_them_two_versions(database: Database) -> None:
    given: list[str] = []

    def register_other() -> None:
        with database.write() as session:
            given.append(register_consent_text(session, SECOND, NOW).version)

    other = threading.Thread(target=register_other)
    with database.write() as session:
        assert register_consent_text(session, FIRST, NOW).version == "1"
        other.start()
    other.join()
    assert given == ["2"]


def test_the_ledger_is_held_against_the_register(database: Database) -> None:
    with database.write() as session:
        person = people.create_person(session, KEYS, ADDRESS, asked_at=NOW, asked_where="a list")
        commitment = people.make_person_address_commitment(KEYS, person, ADDRESS)
        ledger.append_event(session, person, ConsentKind.LISTED, {}, NOW, commitment=commitment)
    asked = permission_requests.queue_permission_emails(
        database, KEYS, lambda *_: None, wording=SECOND, page="/confirm", actor="Ann", limit=9, now=NOW
    )
    assert asked == 1

    def fault() -> str:
        with database.read() as session:
            return verify_ledger(session, KEYS).fault

    assert fault() == ""
    with database.write() as session:
        session.execute(update(PublishedConsentText).values(text="Yes, sell my address."))
    assert fault() == "version 1 of the consent text doesn't match its hash"
    with database.write() as session:
        session.execute(delete(PublishedConsentText))
    assert fault() == f"the consent text with the SHA-256 {SECOND.hash} was agreed to but isn't on record"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wording SET first_used_at = '2025-01-01 00:00:00.000000' WHERE version = 1",
        "UPDATE wording SET language = 'fr' WHERE version = 2",
        "DELETE FROM wording WHERE version = 2",
        "INSERT INTO wording SELECT -1, 'de', text, hash, first_used_at FROM wording WHERE version = 1",
    ],
)
def test_a_sealed_register_tells_when_a_row_was_changed(database: Database, statement: str) -> None:
    with database.write() as session:
        register_consent_text(session, FIRST, NOW)
        register_consent_text(session, SECOND, NOW)
    with database.read() as session:
        survey = verify_ledger(session, KEYS, through=find_last_fully_committed_rows(database)).summary
    assert survey is not None
    with database.write() as session:
        append_seal(session, survey, NOW)
        register_consent_text(session, ConsentText("fr", FIRST.text), NOW)  # one that the seal doesn't cover
    with database.read() as session:
        assert verify_ledger(session, KEYS).fault == ""
    with database.write() as session:
        session.execute(text(statement))
    with database.read() as session:
        assert "doesn't match the consent texts" in verify_ledger(session, KEYS).fault

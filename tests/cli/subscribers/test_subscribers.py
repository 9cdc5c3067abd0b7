import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.cli import digest
from digest.settings import load_settings
from digest.store.engine import Database, open_database
from subscribers.consent import seals
from subscribers.consent.consent_texts import ConsentText, register_consent_text
from subscribers.consent.seals import LedgerSummary, LogHead
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import ConsentEvent, Person, Seal

EVIDENCE = ["--where", "hls.today", "--on", "2026-03-04", "--method", "signed list", "--consent-text", "Yes."]


@pytest.fixture
def home(new_home: Path) -> Path:
    KeyRing.create(new_home / "keys.json")
    return new_home


def _run(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(digest, ["subscribers", *words], input=typed)


def test_a_person_is_added_from_standard_input_counted_and_withdrawn(home: Path) -> None:
    added = _run("add", "-", *EVIDENCE, typed="Ada@example.org\n")
    assert (added.exit_code, added.output) == (0, "Added: person 1.\n")
    assert _run("add", "ada@example.org", *EVIDENCE).output == "Subscribed already: person 1.\n"
    assert json.loads(_run("list", "--json").output)["subscribed"] == 1
    assert _run("unsubscribe", "ada@EXAMPLE.org", "--reason", "phone").output == "Unsubscribed person 1.\n"
    assert _run("unsubscribe", "ada@example.org", "--reason", "phone").output == "Person 1 was already unsubscribed.\n"
    assert (home / "left.log").read_text().count("\n") == 1
    refused = _run("add", "ada@example.org", *EVIDENCE)
    assert refused.exit_code == 1
    assert "its owner unsubscribed" in refused.output


def test_whoever_unsubscribed_the_wrong_person_restores_them(home: Path) -> None:
    _run("add", "-", *EVIDENCE, typed="Ada@example.org\n")
    _run("unsubscribe", "ada@example.org", "--reason", "phone")
    assert _run("restore", "ada@example.org", "--reason", "wrong person").output == "Restored person 1.\n"
    assert _run("restore", "ada@example.org", "--reason", "wrong person").exit_code == 1
    assert json.loads(_run("list", "--json").output)["subscribed"] == 1
    assert [json.loads(line)["kind"] for line in (home / "left.log").read_text().splitlines()] == ["left", "undone"]


def test_an_admin_pauses_a_subscriber_and_changes_their_preferences(home: Path) -> None:
    _run("add", "-", *EVIDENCE, typed="Ada@example.org\n")
    words = ["--frequency", "monthly", "--sections", "featured,events", "--hour", "9", "--zone", "Europe/Paris"]
    paused = ["--pause-until", f"{datetime.now(UTC).year + 1}-01-01", "--text-only", "yes", "--reason", "phone"]
    for _ in range(2):
        result = _run("preferences", "-", *words, *paused, typed="ada@example.org\n")
        assert result.exit_code == 0, result.output
    assert result.output == "No change. Person 1 already had these preferences.\n"
    choices = json.loads(_run("show", "1").output)["pii_information"]["choices"]
    omitted = choices.pop("omit")
    assert {"featured", "events"}.isdisjoint(omitted)
    assert omitted
    assert choices == {
        "frequency": "monthly",
        "hour": 9,
        "pause_until": paused[1],
        "text_only": True,
        "zone": "Europe/Paris",
    }
    back = ["--pause-until", "none", "--hour", "none", "--text-only", "no", "--reason", "wrong person"]
    assert _run("preferences", "1", *back).output == (
        "Changed the preferences of person 1. They'll be emailed about it.\n"
    )
    choices = json.loads(_run("show", "1").output)["pii_information"]["choices"]
    assert choices == {"omit": omitted, "frequency": "monthly"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Choose a preference to change"),
        (["--frequency", "daily"], 2, "daily"),
        (["--sections", "featurd"], 1, "There's no section 'featurd'. Choose from featured,"),
        (["--pause-until", "2020-01-01"], 1, "Not changed. Choose a day between tomorrow and a year from now"),
        (["--zone", "Nowhere"], 2, "Enter --hour, too."),
        (["--zone", "Nowhere", "--hour", "9"], 1, "Choose an hour and a time zone"),
        (["--breaking-news", "yes"], 1, "Not changed. Subscribers have to turn on breaking news themselves."),
    ],
)
def test_preferences_that_cannot_be_saved_are_refused(home: Path, words: list[str], code: int, said: str) -> None:
    _run("add", "-", *EVIDENCE, typed="Ada@example.org\n")
    result = _run("preferences", "1", *words, "--reason", "phone")
    assert result.exit_code == code
    assert said in " ".join(result.output.split())
    assert json.loads(_run("show", "1").output)["pii_information"]["choices"] == {}


@pytest.mark.parametrize(
    "words", [["add", "zebra@nowhere", *EVIDENCE], ["unsubscribe", "zebra@nowhere", "--reason", "x"]]
)
def test_a_wrong_address_is_refused_and_not_repeated(home: Path, words: list[str]) -> None:
    result = _run(*words)
    assert result.exit_code == 1
    assert "isn’t a domain name" in result.output
    assert "zebra" not in result.output


def test_only_an_admins_word_opens_the_form_again_to_who_was_barred(home: Path) -> None:
    refused = _run("allow", "ada@example.org", "--reason", "a slip")
    assert refused.exit_code == 1
    assert "isn't suppressed" in refused.output
    _run("suppress", "ada@example.org", "--reason", "asked")
    allowed = _run("allow", "-", "--reason", "a slip", typed="ada@example.org\n")
    assert (allowed.exit_code, allowed.output.startswith("The address is no longer suppressed")) == (0, True)
    assert _run("add", "ada@example.org", *EVIDENCE).exit_code == 1


def test_nobody_of_that_address_is_said(home: Path) -> None:
    assert _run("unsubscribe", "ada@example.org", "--reason", "x").exit_code == 1


def test_verify_proves_the_ledger_and_names_a_broken_link(home: Path) -> None:
    _run("add", "ada@example.org", *EVIDENCE)
    good = _run("verify")
    assert (good.exit_code, good.output) == (
        0,
        "Verified 1 person, 1 event, 0 suppressions, 0 seals, 0 sealed deliveries and other disclosures, "  # noqa: ISC004 - one text
        "1 row of the audit log.\n",
    )
    database = _database(home)
    with database.write() as session:
        session.query(ConsentEvent).update({"body": "{}"})
    database.close()
    broken = _run("verify", "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.output)["broken"]["person"] == 1


def test_a_seal_that_the_night_appends_at_the_same_moment_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.is_dir()
    append_seal = seals.append_seal

    def append_after_rival(session: Session, survey: LedgerSummary, now: datetime, *, log_head: LogHead) -> Seal:
        rival = append_seal(session, survey, now, log_head=log_head)
        values = {column.name: getattr(rival, column.name) for column in Seal.__table__.columns if column.name != "id"}
        session.add(Seal(**values))
        session.flush()
        return rival

    monkeypatch.setattr(seals, "append_seal", append_after_rival)
    refused = _run("verify", "--seal-now")
    assert refused.exit_code == 1
    assert "has just sealed the ledger" in refused.output


def test_the_words_of_consent_are_listed_with_their_versions(home: Path) -> None:
    assert _run("consent-texts").output.startswith(
        "Current text, not used yet (en):\n  Yes, email me HLS.Today once a week."
    )
    database = _database(home)
    with database.write() as session:
        register_consent_text(session, ConsentText("en", "Yes, write to me."), datetime(2026, 11, 20, tzinfo=UTC))
    database.close()
    assert "Version 1 (en), first used 2026-11-20:\n  Yes, write to me.\n  SHA-256 " in _run("consent-texts").output
    listed = json.loads(_run("consent-texts", "--json").output)
    assert listed["current"]["text"].startswith("Yes, email me HLS.Today")
    assert [(row["wording_version"], row["wording"], row["current"]) for row in listed["kept"]] == [
        ("1", "Yes, write to me.", False)
    ]


def test_a_persons_consent_text_has_the_version_that_it_has_in_the_register(home: Path) -> None:
    database = _database(home)
    with database.write() as session:
        for words in ("Yes, write to me.", "Yes."):
            register_consent_text(session, ConsentText("en", words), datetime(2026, 11, 20, tzinfo=UTC))

    def add(name: str, *stated: str) -> Result:
        return _run("add", f"{name}@example.org", *EVIDENCE, *stated)

    for stated in (("--consent-text-version", "1"), ("--consent-text-version", "3")):
        refused = add("ada", *stated)
        assert (refused.exit_code, "of your consent text" in refused.output) == (1, True), refused.output
    elsewhere = ["--consent-text", "Yes, please.", "--consent-text-version"]
    assert add("ada", *elsewhere, "1").exit_code == 1, "the register has other words for it"
    for name, options in (("ada", []), ("bo", [*elsewhere, "expo 2"]), ("cy", ["--language", "fr"])):
        assert add(name, *options).exit_code == 0
    with database.read() as session:
        bodies = [json.loads(body) for body in session.scalars(select(ConsentEvent.body).order_by(ConsentEvent.id))]
    database.close()
    assert [body["wording_version"] for body in bodies] == ["2", "expo 2", ""]


def test_a_damaged_row_is_named_shown_left_out_of_an_export_and_erased_by_its_number(home: Path) -> None:
    for name in ("ada", "bo"):
        _run("add", f"{name}@example.org", *EVIDENCE)
    database = _database(home)
    with database.write() as session:
        session.execute(update(Person).where(Person.number == 1).values(ciphertext=b"\x9b" * 61))
    database.close()
    named = _run("verify")
    assert (named.exit_code, named.output) == (1, "Failed verification: person 1: the address can't be decrypted.\n")
    shown = _run("show", "1").stdout
    assert json.loads(shown[shown.index("{") :])["pii_information"]["email_address_damaged"]
    exported = _run("export", str(home / "list.csv"), "--reason", "moving")
    assert exported.exit_code == 0
    assert "Exported 1 person" in exported.output
    assert "row is damaged: person 1." in exported.output
    erased = _run("erase", "1", "--reason", "the row is damaged")
    assert (erased.exit_code, erased.output.endswith("Erased person 1.\n")) == (0, True)
    assert _run("verify").exit_code == 0
    unknown = _run("erase", "7", "--reason", "a slip")
    assert (unknown.exit_code, "No subscriber has this number" in unknown.output) == (1, True)


def _database(home: Path) -> Database:
    return open_database(load_settings().effective_database_url)

"""SendGrid's suppression lists, pulled every night from a loopback fake of its API."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import func, select

from digest import nightly
from digest.attention import needed
from digest.cli import digest
from digest.deliver.inbound import pulling, sendgrid_lists
from digest.deliver.inbound.pulling import Pulled, pull
from digest.deliver.inbound.sendgrid_lists import read
from digest.deliver.transports.sendgrid_api import Api
from digest.delivery_db import Memo
from digest.install import Install
from digest.settings import Settings
from subscribers import ledger, suppression
from subscribers.addresses import read_address
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState, Suppression
from subscribers.heeding import Word
from subscribers.journal import Journal
from tests.deliver.account import KEY, LISTS, Asked, FakeAccount, Instead
from tests.deliver.conftest import RELEASE, World

NOW = RELEASE + timedelta(days=1)
THEN = int((RELEASE + timedelta(hours=2)).timestamp())
GONE = {"status": "5.1.1", "reason": "550 5.1.1 no such user ada@example.org"}


def _journal(world: World) -> Journal:
    return Journal(world.settings.left_log, world.keys)


def _pull(
    world: World,
    fake: FakeAccount,
    *,
    now: datetime = NOW,
    key: str = KEY,
    timeout: float = 5.0,
    pages: int = 100,
) -> Pulled:
    api = Api(key, fake.host, timeout=timeout)
    return pull(world.database, world.keys, _journal(world), api, now=now, most_pages=pages)


def _states(world: World, numbers: list[int]) -> list[PersonState]:
    with world.database.read() as session:
        return [session.get_one(Person, number).state for number in numbers]


def _attention(world: World) -> str:
    with world.database.read() as session:
        return " ".join(needed(session, RELEASE))


def _links(world: World) -> int:
    with world.database.read() as session:
        return session.scalar(select(func.count()).select_from(ConsentEvent)) or 0


def test_each_list_does_to_a_reader_what_it_means(world: World) -> None:
    names = ("ada", "bo", "cy", "dee", "eve", "flo", "gus")
    people = world.readers(*(f"{name}@example.org" for name in names))
    with FakeAccount() as fake:
        fake.put("spam_reports", "Ada@example.org", THEN, ip="10.0.0.1")
        fake.put("unsubscribes", "bo@example.org", THEN)
        fake.put("bounces", "cy@example.org", THEN, **GONE)
        fake.put("invalid_emails", "dee@example.org", THEN, reason="Mail domain mentioned is unknown")
        fake.put("bounces", "eve@example.org", THEN, status="5.7.1", reason="550 5.7.1 our policy")
        fake.put("blocks", "flo@example.org", THEN, status="5.1.1", reason="550 5.1.1 blocked")
        pulled = _pull(world, fake)
    assert _states(world, people) == [
        PersonState.SUPPRESSED,
        PersonState.WITHDRAWN,
        PersonState.SUPPRESSED,
        PersonState.SUPPRESSED,
        PersonState.SUBSCRIBED,
        PersonState.SUBSCRIBED,
        PersonState.SUBSCRIBED,
    ]
    assert pulled.words == {"complained": 1, "left": 1, "bounced": 2}
    assert (pulled.entries, pulled.ours, pulled.troubles) == (6, 6, [])
    with world.database.read() as session:
        assert suppression.find(session, world.keys, read_address("ada@example.org")).reason == "complained"  # type: ignore[union-attr]
    assert [d.kind for d in _journal(world).read()] == ["complained", "left", "bounced", "bounced"]


def test_a_second_pull_changes_nothing(world: World) -> None:
    world.readers("ada@example.org", "bo@example.org", "cy@example.org")
    with FakeAccount() as fake:
        fake.put("spam_reports", "ada@example.org", THEN)
        fake.put("unsubscribes", "bo@example.org", THEN)
        fake.put("bounces", "cy@example.org", THEN, **GONE)
        _pull(world, fake)
        links, departures = _links(world), world.settings.left_log.read_bytes()
        with world.database.write() as session:
            pulling.start_over(session)
        again = _pull(world, fake)
    assert again.words == {}
    assert again.entries == 3
    assert (_links(world), world.settings.left_log.read_bytes()) == (links, departures)


def test_what_is_gone_from_a_list_brings_nobody_back(world: World) -> None:
    people = world.readers("ada@example.org")
    with FakeAccount() as fake:
        fake.put("bounces", "ada@example.org", THEN, **GONE)
        _pull(world, fake)
        fake.lists["bounces"].clear()
        _pull(world, fake, now=NOW + timedelta(days=1))
    assert _states(world, people) == [PersonState.SUPPRESSED]


def test_a_word_from_before_the_readers_own_last_word_is_over(world: World) -> None:
    people = world.readers("ada@example.org", "bo@example.org")
    before = int((RELEASE - timedelta(hours=1)).timestamp())
    with world.database.write() as session:
        for number in people:
            person = ledger.hold(session, number)
            assert person is not None
            ledger.append(session, person, ConsentKind.CONFIRMED, {}, RELEASE)
    with FakeAccount() as fake:
        fake.put("unsubscribes", "ada@example.org", before)
        fake.put("spam_reports", "bo@example.org", before)
        assert _pull(world, fake).words == {}
    assert _states(world, people) == [PersonState.SUBSCRIBED] * 2


def test_addresses_that_are_not_ours_leave_no_trace(
    world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeAccount() as fake:
        fake.put("bounces", "stranger@elsewhere.example.net", THEN, **GONE)
        fake.put("spam_reports", "not an address", THEN)
        fake.put("unsubscribes", "x" * 100_000 + "@example.org", THEN)
        pulled = _pull(world, fake)
    assert (pulled.entries, pulled.ours) == (3, 0)
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Suppression)) == 0
        memo = json.dumps(session.get_one(Memo, pulling.MEMO).value)
    said = f"{caplog.text}{capsys.readouterr()}{memo}{pulled}"
    assert "stranger" not in said
    assert "elsewhere" not in said
    assert KEY not in said
    assert not world.settings.left_log.exists()


def test_the_next_pull_asks_only_for_what_is_new_and_three_days_more(world: World) -> None:
    with FakeAccount() as fake:
        _pull(world, fake)
        assert all(a.query["start_time"] == 0 for a in fake.asked)
        fake.asked.clear()
        _pull(world, fake, now=NOW + timedelta(days=1))
    assert {a.path.rpartition("/")[2] for a in fake.asked} == set(LISTS)
    since = int((NOW - timedelta(days=3)).timestamp())
    assert {a.query["start_time"] for a in fake.asked} == {since}
    assert {a.query["end_time"] for a in fake.asked} == {int((NOW + timedelta(days=1)).timestamp())}


def test_a_long_list_is_read_by_pages_and_goes_on_where_it_was_cut_short(world: World) -> None:
    people = world.readers(*(f"r{n}@example.org" for n in range(1_101)))
    with FakeAccount() as fake:
        for n in range(1_101):
            fake.put("spam_reports", f"r{n}@example.org", THEN + n)
        first = _pull(world, fake, pages=2)
        assert first.words == {"complained": 1_000}
        assert "the next run goes on" in first.troubles[0]
        fake.put(
            "spam_reports", "late@example.org", int(NOW.timestamp()) + 60
        )  # must not move the pages of this reading
        rest = _pull(world, fake, now=NOW + timedelta(days=1))
    assert rest.words == {"complained": 101}
    assert rest.troubles == []
    assert [a.query["offset"] for a in fake.asked if a.path.endswith("spam_reports")] == [0, 500, 1000, 1101]
    assert set(_states(world, people)) == {PersonState.SUPPRESSED}


def test_a_list_that_gives_the_same_page_for_ever_is_given_up(sqlite_world: World) -> None:
    page = json.dumps([{"created": THEN, "email": "a@example.net"}]).encode()
    with FakeAccount(lambda _: Instead(200, page)) as fake:
        pulled = _pull(sqlite_world, fake)
    assert len(fake.asked) == 2 * len(LISTS)
    assert all("the same page twice" in trouble for trouble in pulled.troubles)


HTML = b"<html><h1>Bad Gateway for ada@example.org</h1>"


@pytest.mark.parametrize(
    ("instead", "said", "asked"),
    [
        (
            Instead(401, b'{"errors":[{"message":"no ada@example.org","field":null}]}'),
            "refuses the key: 401",
            1,
        ),
        (Instead(403, b'{"errors":[{"message":"access forbidden","field":null}]}'), "Suppressions (read)", 5),
        (Instead(429, headers={"Retry-After": "17"}), "patience: 17 seconds", 1),
        (Instead(500, b"{}"), "no answer that counts: 500", 5),
        (Instead(502, HTML), "no answer that counts: 502", 5),
        (Instead(200, HTML), "no answer of its API", 5),
        (Instead(200, b'{"result": []}'), "no answer of its API", 5),
        (Instead(200, b"[1, 2]"), "no answer of its API", 5),
        (Instead(200, b"[" * 100_000), "no answer of its API", 5),
        (Instead(200, b"[", {"Content-Length": "900"}), "no answer that counts: IncompleteRead", 5),
        (Instead(200, b" " * 4_000_001), "no answer that counts: OSError", 5),
        (Instead(302, headers={"Location": "http://127.0.0.1:1/"}), "no answer of its API", 5),
        (Instead(hang=None), "no answer that counts", 5),
    ],
)
def test_trouble_is_said_in_a_line_and_the_next_night_reads_all_the_same(
    sqlite_world: World, instead: Instead, said: str, asked: int
) -> None:
    world = sqlite_world
    people = world.readers("ada@example.org")
    with FakeAccount(lambda _: instead) as fake:
        fake.put("spam_reports", "ada@example.org", THEN)
        pulled = _pull(world, fake)
        assert len(fake.asked) == asked
        assert all(said in trouble for trouble in pulled.troubles)
        assert pulled.troubles
        assert "@" not in str(pulled)
        assert KEY not in str(pulled)
        assert _states(world, people) == [PersonState.SUBSCRIBED]
        assert said in _attention(world)
        fake.instead = lambda _: None
        assert _pull(world, fake, now=NOW + timedelta(days=1)).words == {"complained": 1}
        assert _attention(world) == ""


def test_silence_ends_after_the_time_limit(sqlite_world: World) -> None:
    with FakeAccount(lambda _: Instead(200, b"[]", hang=0.6)) as fake:
        pulled = _pull(sqlite_world, fake, timeout=0.2)
    assert "TimeoutError" in pulled.troubles[0]


def test_one_list_in_trouble_does_not_keep_the_others_from_being_read(sqlite_world: World) -> None:
    people = sqlite_world.readers("ada@example.org")

    def broken(asked: Asked) -> Instead | None:
        return Instead(500) if asked.path.endswith("spam_reports") else None

    with FakeAccount(broken) as fake:
        fake.put("unsubscribes", "ada@example.org", THEN)
        pulled = _pull(sqlite_world, fake)
    assert _states(sqlite_world, people) == [PersonState.WITHDRAWN]
    assert len(pulled.troubles) == 1


@pytest.mark.parametrize(
    ("name", "entry", "word"),
    [
        ("bounces", GONE, Word.BOUNCED),
        ("bounces", {"status": "5.1.1", "reason": "550 5.7.1 blocked"}, None),
        ("bounces", {"status": "", "reason": "550 mailbox unavailable"}, None),  # a strike at most
        ("bounces", {"status": 5.0, "reason": None}, None),
        ("bounces", {}, None),
        ("invalid_emails", {"reason": "Known bad domain"}, Word.BOUNCED),
        ("invalid_emails", {"reason": "550 5.7.1 policy"}, None),
        ("spam_reports", {}, Word.COMPLAINED),
        ("unsubscribes", {}, Word.LEFT),
        ("blocks", GONE, None),
    ],
)
def test_an_entry_is_read_by_its_codes(name: str, entry: dict[str, object], word: Word | None) -> None:
    body = json.dumps([{"created": THEN, "email": "ada@example.org", **entry}]).encode()
    page = read(name, body, received_at=NOW)
    assert page is not None
    assert [e.word for e in page.entries] == [word]
    assert "ada" not in json.dumps(dict(page.entries[0].detail))


def test_a_time_that_is_none_or_in_the_future_is_the_time_of_asking() -> None:
    rows = [{"email": "ada@example.org", "created": c} for c in (None, "x", 10**30, THEN + 10**9, [1])]
    page = read("spam_reports", json.dumps(rows).encode(), received_at=NOW)
    assert page is not None
    assert [e.at for e in page.entries] == [NOW] * 5


def _settings(world: World, fake: FakeAccount, mail: str = "sendgrid:") -> Settings:
    said = {"mail_url": SecretStr(mail), "sendgrid_api_key": SecretStr(KEY), "sendgrid_host": fake.host}
    return world.settings.model_copy(update=said)


def test_the_night_pulls_where_mail_goes_over_sendgrid(sqlite_world: World) -> None:
    world = sqlite_world
    people = world.readers("ada@example.org")
    world.settings.key_file.write_text(world.keys.to_json())
    world.settings.key_file.chmod(0o600)
    with FakeAccount() as fake:
        fake.put("unsubscribes", "ada@example.org", THEN)
        other = Install(_settings(world, fake, "outbox:"), world.database)
        assert "does not go over SendGrid" in nightly.pull_suppressions(other, NOW)
        keyless = _settings(world, fake).model_copy(update={"sendgrid_api_key": None})
        assert "DIGEST_SENDGRID_API_KEY" in nightly.pull_suppressions(Install(keyless, world.database), NOW)
        assert fake.asked == []
        said = nightly.run(Install(_settings(world, fake), world.database), NOW)
    assert "SendGrid's lists: 1 left (1 entries, 1 of our people)" in said
    assert _states(world, people) == [PersonState.WITHDRAWN]


def _environment(home: Path, fake: FakeAccount) -> dict[str, str]:
    return {
        "DIGEST_HOME": str(home),
        "DIGEST_MAIL_URL": "sendgrid:",
        "DIGEST_SENDGRID_API_KEY": KEY,
        "DIGEST_SENDGRID_HOST": fake.host,
    }


def test_an_admin_pulls_by_hand_and_a_script_reads_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with FakeAccount() as fake:
        runner = CliRunner(env=_environment(tmp_path / "home", fake))
        assert runner.invoke(digest, ["init"]).exit_code == 0
        added = ["subscribers", "add", "-", "--where", "here", "--on", "2026-03-04", "--method", "form"]
        runner.invoke(digest, [*added, "--confirmed", "--wording", "Yes."], input="ada@example.org\n")
        fake.put("spam_reports", "ada@example.org", int(datetime.now(UTC).timestamp()))
        done = runner.invoke(digest, ["subscribers", "pull", "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout) == {
            "entries": 1,
            "ours": 1,
            "people": {"complained": 1},
            "troubles": [],
        }
        again = runner.invoke(digest, ["subscribers", "pull", "--all"])
        assert again.stdout == "SendGrid's lists: nobody new (1 entries, 1 of our people).\n"
        fake.instead = lambda _: Instead(503)
        failed = runner.invoke(digest, ["subscribers", "pull"])
        assert failed.exit_code == 1
        assert "503" in failed.stdout


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"DIGEST_HOME": str(tmp_path / "home")})
    runner.invoke(digest, ["init"])
    done = runner.invoke(digest, ["subscribers", "pull"])
    assert done.exit_code == 1
    assert "DIGEST_SENDGRID_API_KEY: missing" in done.output


def test_every_list_has_a_meaning() -> None:
    assert set(sendgrid_lists.WORDS) == set(LISTS)

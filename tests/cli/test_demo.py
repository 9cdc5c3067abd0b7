import re
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from digest.app.demo.sample_week import SAMPLE_NOW
from digest.app.editing import editing_state
from digest.app.editions import edition_checks
from digest.app.editions.edition_checks import build_preflight_input
from digest.app.subscribers.growth import view_list_growth
from digest.cli import digest
from digest.edition.edition_queries import find_edition
from digest.edition.preflight.rule_registry import FindingLevel, run_preflight_rules
from digest.installation.opened_installation import open_installation
from digest.settings import load_settings
from subscribers.consent.preferences import Preferences
from subscribers.consent.seals import find_last_fully_committed_rows, verify_ledger
from subscribers.store.models import Person, PersonState
from tests.actors import ADMIN
from tests.conftest import ROOT, WAIT_TIMEOUT


def demo(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(digest, ["demo", "--to", str(folder), *more], catch_exceptions=False)


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo once, into the folder that it has by default; give that and what it printed."""
    place = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        done = demo(Path("digest-demo"))
    assert done.exit_code == 0, done.output
    return place / "digest-demo", done.output


@pytest.fixture(scope="module")
def made(run_once: tuple[Path, str]) -> Path:
    return run_once[0]


def messages(folder: Path) -> list[bytes]:
    return [f.read_bytes() for f in sorted((folder / "outbox" / "edition").glob("*.eml"))]


def test_make_serve_runs_the_command_that_the_demo_prints(run_once: tuple[Path, str]) -> None:
    printed = run_once[1].splitlines()[-1]
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\nserve:")[2].partition("\n\n")[0].splitlines()[-1]
    assert recipe.strip("\t@").replace("$(BIN)/digest", sys.argv[0]) == printed.strip()


def test_the_sample_has_an_editor_and_an_admin_and_a_link_for_each_is_printed(run_once: tuple[Path, str]) -> None:
    folder, output = run_once
    with sqlite3.connect(folder / "digest.db") as database:
        roles = dict(database.execute("SELECT email, role FROM staff"))
    database.close()
    assert sorted(roles.values()) == ["admin", "editor"]
    assert re.findall(r"--sign-in (\S+)", output.splitlines()[-1]) == sorted(roles)


def test_there_is_one_message_a_subscriber_and_each_names_only_them(made: Path) -> None:
    found = messages(made)
    addresses = [str(message_from_bytes(m, policy=policy.default)["To"]) for m in found]
    assert len(found) == 11  # of twelve readers one has paused
    assert len(set(addresses)) == len(found)
    for message, address in zip(found, addresses, strict=True):
        assert not [a for a in addresses if a != address and a.encode() in message]


def test_three_of_them_bounced_for_an_admin_to_follow_up(run_once: tuple[Path, str]) -> None:
    folder, output = run_once
    with sqlite3.connect(folder / "digest.db") as database:
        query = "SELECT reply FROM delivery WHERE state = 'refused' ORDER BY person"
        replies = [reply for (reply,) in database.execute(query)]
        (suppressed,) = database.execute("SELECT count(*) FROM person WHERE number <= 12 AND state != 'subscribed'")
    database.close()
    assert "Bounced 3 of the emails" in output
    assert [reply.split()[1] for reply in replies] == ["552", "554", "550"]
    assert suppressed == (0,)


def test_every_message_of_the_demo_passes_preflight(made: Path) -> None:
    settings = load_settings(made / "digest.toml", {}).model_copy(
        update={"home": made, "base_url": "https://news.example.org"}
    )
    with open_installation(settings) as install, install.database.read() as session:
        facts = build_preflight_input(install, session, find_edition(session, "2026-W47"), now=SAMPLE_NOW)
    assert run_preflight_rules(facts) == ()
    assert len(facts.html.encode()) <= 80 * 1024
    assert sum(len(s.entries) for s in facts.content.sections) >= 25
    assert not [f for f in run_preflight_rules(facts) if f.level == FindingLevel.ERROR]


def test_the_week_after_is_left_as_a_draft_that_an_editor_may_take_up(made: Path) -> None:
    settings = load_settings(made / "digest.toml", {}).model_copy(update={"home": made})  # as `make serve` has them
    after = SAMPLE_NOW + timedelta(days=7)
    with open_installation(settings) as install:
        state = editing_state.read_editing_state(install, "current")
        findings = edition_checks.check_edition(install, "current", now=after)
    assert (state.name, state.edits) == ("2026-W48", ())
    assert [key for key, stories in state.arrangement.sections.items() if len(stories) < 2] == []
    assert {finding.rule for finding in findings} == {"intro", "earlier-dates"}, "an editor looks at these"
    assert {finding.level for finding in findings} == {FindingLevel.WARNING}
    assert {path.name for path in (made / "outbox").iterdir()} == {"edition"}
    assert [path.name for path in (made / "web").glob("*.html")] == ["2026-W47.html"]


def test_a_year_of_invented_people_is_there_and_only_the_samples_subscribers_get_files(made: Path) -> None:
    settings = load_settings(made / "digest.toml", {}).model_copy(update={"home": made})
    with open_installation(settings) as install:
        year = view_list_growth(install, ADMIN, now=SAMPLE_NOW)
        with install.database.read() as session:
            people = list(session.scalars(select(Person)))
            proof = verify_ledger(session, install.keys, through=find_last_fully_committed_rows(install.database))
    on_list = [person for person in people if person.state is PersonState.SUBSCRIBED]
    assert (len(year.subscribers), year.subscribers[-1][1], len(year.edition_results)) == (366, len(on_list), 10)
    assert {standing.number for standing in year.edition_results} == set(range(137, 147))
    grown = year.subscribers[-1][1] - (year.subscribers_before(7) or 0)
    assert grown == (year.joined or 0) - (year.left or 0) != 0, "one sentence speaks of the same people"
    paused = [Preferences.from_json(person.choices).is_paused(SAMPLE_NOW.date()) for person in on_list]
    assert (len(on_list) > 12_000, paused.count(False)) == (True, 11), "all but the sample's readers pause"
    assert proof.sound, "whatever happened to somebody is a link of their own chain"


def test_the_people_of_the_last_thirty_days_are_those_that_the_totals_count(made: Path) -> None:
    settings = load_settings(made / "digest.toml", {}).model_copy(update={"home": made})
    with open_installation(settings) as install:
        counted = view_list_growth(install, ADMIN, now=SAMPLE_NOW).ways
        with install.database.read() as session:
            last_of_list = session.scalar(select(func.max(Person.number)).where(Person.batch.is_not(None)))
            after_it = select(Person.asked_where, Person.state, Person.asked_at).where(Person.number > last_of_list)
            newcomers = session.execute(after_it).all()
            states = Counter(session.scalars(select(Person.state)))
    ways = [way for way in counted if way.confirmed or way.brought]
    assert len(ways) == 4
    for way in ways:
        came = [row for row in newcomers if row.asked_where == way.way and row.state is not PersonState.REQUESTED]
        in_thirty_days = [row for row in came if row.asked_at > SAMPLE_NOW - timedelta(days=30)]
        assert len(in_thirty_days) == way.confirmed + way.brought, way
    rare = {PersonState.UNVERIFIED, PersonState.REMOVED}  # by imports without evidence, and by undone ones
    assert min(states[state] for state in set(PersonState) - rare) >= 3


def test_the_demo_clears_only_what_a_demo_made(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    done = demo(tmp_path)
    assert done.exit_code == 1
    assert "wasn't created by the demo" in done.output
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_the_web_copy_holds_nothing_of_a_subscriber_and_its_pictures_are_there(made: Path) -> None:
    html = (made / "web" / "2026-W47.html").read_text("utf-8")
    assert "/u/" not in html
    assert "/preferences/" not in html
    pictures = re.findall(r'src="([^"]+)"', html)
    assert pictures
    assert all((made / "web" / p).is_file() for p in pictures)


@pytest.mark.spamassassin
def test_spamassassin_finds_little(made: Path) -> None:
    # As a mailbox, for it takes a second to load its rules. A line of a message that begins with "From " would begin another.
    read = [re.sub(rb"(?m)^From ", b">From ", message.replace(b"\r\n", b"\n")) for message in messages(made)[:3]]
    mailbox = b"".join(b"From digest@news.example.org Fri Nov 20 11:00:00 2026\n" + message + b"\n" for message in read)
    command = ["spamassassin", "-L", "-t", "--mbox"]
    done = subprocess.run(command, input=mailbox, capture_output=True, check=True, timeout=2 * WAIT_TIMEOUT)
    report = done.stdout.decode("utf-8", "replace")
    points = re.findall(r"\((-?[\d.]+) points, [\d.]+ required\)", report)
    assert len(points) == len(read) == 3, report
    assert max(map(float, points)) <= 2, report

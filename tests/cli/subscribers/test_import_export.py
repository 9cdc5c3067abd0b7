import csv
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from digest.cli import digest
from digest.settings import load_settings
from digest.store.engine import open_database
from digest.store.models import AuditEntry
from subscribers.crypto.keys import KeyRing

HEADINGS = "Email Address,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LEID\n"
CONFIRMED = "2019-04-05 10:00:00,192.0.2.1,2019-04-05 10:01:00,192.0.2.1,1"


@pytest.fixture
def home(new_home: Path, tmp_path: Path) -> Path:
    KeyRing.create(new_home / "keys.json")
    rows = [f"ada@okapi.example.org,{CONFIRMED}", "bo@okapi.example.org,,,,,", "zebra,,,,,"]
    (tmp_path / "list.csv").write_text(HEADINGS + "\n".join(rows))
    return new_home


def _run(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(digest, ["subscribers", *words], input=typed)


def _actions(home: Path) -> list[tuple[str, str]]:
    database = open_database(load_settings().effective_database_url)
    with database.read() as session:
        found = [
            (row.act, json.dumps(row.detail)) for row in session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        ]
    database.close()
    return found


def test_a_file_is_looked_at_first_and_brought_in_by_commit(home: Path) -> None:
    looked = _run("import", "list.csv")
    assert looked.exit_code == 0
    assert "Mailchimp, 3 rows" in looked.output
    assert "row 4: the address has no @" in looked.output
    assert "--commit" in looked.output
    assert json.loads(_run("list", "--json").output)["subscribed"] == 0
    done = _run("import", "list.csv", "--commit")
    assert done.exit_code == 0
    assert "Finished import 1." in done.output
    counts = json.loads(_run("list", "--json").output)
    assert (counts["subscribed"], counts["unverified"]) == (1, 1)
    again = _run("import", "list.csv", "--commit")
    assert "The file wasn't imported again." in again.output
    for result in (looked, done, again):
        assert "okapi" not in result.output
    assert [act for act, _ in _actions(home)] == ["list imported"]


def test_an_import_is_undone_as_documented(home: Path) -> None:
    _run("import", "list.csv", "--commit")
    undo = ("import", "--undo", "1", "--reason", "wrong file")
    assert _run("import", "--undo", "1").exit_code == 2
    assert _run(*undo, typed="n\n").exit_code == 1
    done = _run(*undo, typed="y\n")
    assert (done.exit_code, "Undid import 1 (2 people removed)." in done.output) == (0, True), done.output
    counts = json.loads(_run("list", "--json").output)
    assert (counts["subscribed"], counts["unverified"]) == (0, 0)
    assert [act for act, _ in _actions(home)] == ["list imported", "import undone"]


def test_rejected_rows_stand_in_a_file_for_their_owner_alone(home: Path) -> None:
    _run("import", "list.csv", "--commit")
    path = Path("list.csv.rejected.csv")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(newline="") as file:
        second = list(csv.reader(file))[1]
    assert second == ["4", "the address has no @", "zebra", *[""] * 5]


def test_what_every_row_comes_to_is_written_for_a_dry_run_and_an_import_alike(home: Path) -> None:
    for name, commit in (("tried.csv", []), ("done.csv", ["--commit"])):
        assert _run("import", "list.csv", "--outcomes", name, *commit).exit_code == 0
    tried, done = (list(csv.reader(Path(name).read_text().splitlines())) for name in ("tried.csv", "done.csv"))
    assert tried == done
    assert done[0] == ["row", "outcome", "why"]
    assert ["4", "rejected", "the address has no @"] in done
    assert stat.S_IMODE(Path("done.csv").stat().st_mode) == 0o600
    assert "@" not in "".join(cell.replace("no @", "") for row in done for cell in row)
    assert not list(Path().glob("*.part*"))
    refused = _run("import", "list.csv", "--outcomes", "done.csv")
    assert refused.exit_code == 1
    assert "already exists" in refused.output


def test_counts_come_as_json(home: Path) -> None:
    said = json.loads(_run("import", "list.csv", "--json").output)
    assert (said["origin"], said["rows"], said["batch"]) == ("Mailchimp", 3, None)
    assert said["counts"]["subscribed"] == 1
    assert said["problems"] == [{"row": 4, "reason": "the address has no @"}]


def test_a_file_that_is_no_list_is_refused_in_a_line(home: Path) -> None:
    Path("odd.csv").write_text("name,city\nokapi,Rome\n")
    result = _run("import", "odd.csv", "--commit")
    assert result.exit_code == 1
    assert "No column contains email addresses" in result.output


def test_a_reason_holds_no_address(home: Path) -> None:
    for words in (["import", "list.csv", "--attest"], ["export", "out.csv", "--reason"], ["erase", "-", "--reason"]):
        result = _run(*words, "for ada@okapi.example.org")
        assert result.exit_code == 2
        assert "okapi" not in result.output


def test_the_list_goes_out_once_to_a_closed_file_with_its_reason_on_record(home: Path) -> None:
    _run("import", "list.csv", "--commit")
    assert _run("export", "out.csv").exit_code == 2
    result = _run("export", "out.csv", "--reason", "moving house", "--to", "Example Mail Ltd")
    assert "Exported 1 person" in result.output
    assert stat.S_IMODE(Path("out.csv").stat().st_mode) == 0o600
    assert "ada@okapi.example.org" in Path("out.csv").read_text()
    assert _run("export", "out.csv", "--reason", "again").exit_code == 1
    assert ("list exported", '{"to": "Example Mail Ltd", "why": "moving house"}') in [
        (act, json.dumps(json.loads(detail), sort_keys=True)) for act, detail in _actions(home)
    ]
    said = json.loads(_run("show", "-", typed="ada@okapi.example.org\n").output)
    passages = {(p["recipient"], p["purpose"]) for p in said["recipient_third_parties"]}
    assert passages == {("Example Mail Ltd", "moving house"), ("our staff", "record viewed")}


def test_one_person_is_shown_erased_and_then_known_no_more(home: Path) -> None:
    _run("import", "list.csv", "--commit")
    shown = json.loads(_run("show", "ada@okapi.example.org").output)
    assert shown["events"][0]["details"]["wording"] == "not recorded by Mailchimp"
    assert _run("erase", "-", "--reason", "by letter", typed="ada@okapi.example.org\n").output == "Erased person 1.\n"
    gone = _run("show", "-", typed="ada@okapi.example.org\n")
    assert gone.exit_code == 1
    assert "The address is suppressed (erased" in gone.output
    assert "okapi" not in gone.output
    assert _run("erase", "-", "--reason", "x", typed="zebra\n").exit_code == 1


def test_an_address_is_barred_whether_known_or_not(home: Path) -> None:
    _run("import", "list.csv", "--commit")
    for name in ("ada", "cy"):
        result = _run("suppress", "-", "--reason", "asked us", typed=f"{name}@okapi.example.org\n")
        assert (result.exit_code, result.output) == (0, "Suppressed.\n")
    log = (home / "left.log").read_text()  # a copy from before must know both: the stranger's bar, too
    assert [json.loads(line)["kind"] for line in log.splitlines()] == ["barred", "barred"]
    Path("more.csv").write_text(HEADINGS + f"cy@okapi.example.org,{CONFIRMED}\nada@okapi.example.org,{CONFIRMED}\n")
    assert json.loads(_run("import", "more.csv", "--commit", "--json").output)["counts"]["left or suppressed"] == 2


def test_departures_can_be_named_as_such(home: Path) -> None:
    Path("gone.csv").write_text("ada@okapi.example.org\n")
    _run("import", "list.csv", "--commit")
    result = _run("import", "gone.csv", "--these-are", "bounced", "--commit", "--json")
    assert json.loads(result.output)["counts"]["departures"] == 1
    assert json.loads(_run("list", "--json").output)["suppressed"] == 1

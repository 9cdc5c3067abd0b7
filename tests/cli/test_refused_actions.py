"""A refused action leaves only its entry in the audit log, and a failed action is recorded as failed."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, inspect, text

from digest.cli import digest
from digest.cli.context import find_system_user
from digest.settings import load_settings
from tests.conftest import enter_home
from tests.restored_folder import RestoredFolder, keep_folder
from tests.run_database import HomeDatabases

EDITOR, STRANGER = "eve@news.example.org", "nobody@okapi.example.org"
EVIDENCE = ["--where", "hls.today", "--on", "2026-03-04", "--method", "signed list", "--consent-text", "Yes."]
TERMINAL = f"terminal:{find_system_user()}"

ADMIN_COMMANDS = (
    ("subscribers", "add", "bo@okapi.example.org", *EVIDENCE),
    ("subscribers", "unsubscribe", "ada@okapi.example.org", "--reason", "phone"),
    ("subscribers", "show", "ada@okapi.example.org"),
    ("subscribers", "erase", "ada@okapi.example.org", "--reason", "by letter"),
    ("subscribers", "suppress", "ada@okapi.example.org", "--reason", "asked"),
    ("subscribers", "allow", "cy@okapi.example.org", "--reason", "a slip"),
    ("subscribers", "renew-links", "ada@okapi.example.org", "--reason", "asked"),
    ("subscribers", "list"),
    ("subscribers", "verify"),
    ("subscribers", "ask", "--yes"),
    ("subscribers", "import", "list.csv"),
    ("subscribers", "import", "list.csv", "--commit"),
    ("subscribers", "import", "--list"),
    ("subscribers", "import", "--abandon", "1", "--yes"),
    ("subscribers", "export", "out.csv", "--reason", "moving"),
    ("subscribers", "pull", "--all"),
    ("sources", "add", "https://www.example.org/feed", "--untried"),
    ("staff", "add", "sam@news.example.org", "--role", "admin"),
    ("staff", "list"),
    ("staff", "verify", EDITOR),
    ("staff", "remove", EDITOR),
    ("keys", "list"),
    ("keys", "rotate", "vault"),
    ("inbound",),
    ("backup", "backup.zip"),
    ("restore", "backup.zip", "--replace", "--yes"),
    ("restore", "backup.zip", "--check"),
)


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases) -> RestoredFolder:
    """Prepare an installation with a reader, somebody who is barred, and an editor; beside it lies a list."""
    folder = tmp_path_factory.mktemp("refused") / "folder"
    folder.mkdir()
    home_databases.create_bare(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        enter_home(folder / "home", home_databases, patch)
        for words in (
            ("init",),
            ("staff", "add", EDITOR, "--role", "editor"),
            ("subscribers", "add", "ada@okapi.example.org", *EVIDENCE),
            ("subscribers", "suppress", "cy@okapi.example.org", "--reason", "asked"),
        ):
            assert _run(*words).exit_code == 0
    (folder / "list.csv").write_text("dee@okapi.example.org\nzebra\n")
    home_databases.copy(folder / "home", folder / "kept")
    return keep_folder(folder)


@pytest.fixture
def home(prepared_folder: RestoredFolder, home_databases: HomeDatabases, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the prepared installation, as it was before the test before."""
    prepared_folder.restore()
    home = prepared_folder.folder / "home"
    home_databases.copy(prepared_folder.folder / "kept", home)
    enter_home(home, home_databases, monkeypatch)
    return home


def _run(*words: str) -> Result:
    return CliRunner().invoke(digest, list(words), prog_name="digest")


def _stored(home: Path) -> tuple[dict[str, list[Any]], list[Any]]:
    """Give every row by table, in an order that hangs on the rows alone, and the audit log apart."""
    engine = create_engine(load_settings().effective_database_url)
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        tables = {name: connection.execute(text(f"SELECT * FROM {name}")) for name in names if name != "audit"}
        rows = {name: sorted(map(tuple, found), key=repr) for name, found in tables.items()}
        audit = list(connection.execute(text("SELECT actor, act, subject, detail FROM audit ORDER BY id")))
    engine.dispose()
    return rows, audit


def _files(home: Path) -> dict[str, bytes]:
    """Give the files that an act could write, the database's own left out."""
    folders = (home, home.parent)
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith("digest.db")
    }


def test_a_subscriber_stays_when_a_stranger_tries_to_withdraw_them(home: Path) -> None:
    before = (home / "left.log").read_bytes()
    assert _run("--as", STRANGER, "subscribers", "unsubscribe", "ada@okapi.example.org", "--reason", "x").exit_code == 2
    assert (home / "left.log").read_bytes() == before


@pytest.mark.parametrize("words", ADMIN_COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("acting", [EDITOR, STRANGER])
def test_a_refused_act_leaves_its_refusal_and_nothing_else(home: Path, acting: str, words: tuple[str, ...]) -> None:
    (rows, audit), files = _stored(home), _files(home)
    refused = _run("--as", acting, *words)
    assert refused.exit_code == 2, refused.output
    after, audit_after = _stored(home)
    assert (after, _files(home)) == (rows, files)
    (row,) = audit_after[len(audit) :]
    assert row[0] == ("staff 1" if acting == EDITOR else TERMINAL)
    assert row[1].startswith("refused: ")
    assert "@" not in " ".join(map(str, row))


def test_an_editor_may_collect_and_look_at_sources_and_a_stranger_may_not(home: Path) -> None:
    file = home.parent / "odd.xml"
    file.write_text("<rss version='2.0'><channel><title>x</title></channel></rss>")
    for words, refusal in ((("collect", str(file)), 2), (("sources", "list"), 2)):
        assert _run("--as", EDITOR, *words).exit_code == 0
        assert _run("--as", STRANGER, *words).exit_code == refusal


def test_an_export_that_failed_is_written_as_failed(home: Path) -> None:
    Path("out.csv").write_text("mine")
    assert _run("subscribers", "export", "out.csv", "--reason", "moving").exit_code == 1
    actor, act, subject, _detail = _stored(home)[1][-1]
    assert (actor, act, subject) == (TERMINAL, "failed: list exported", "the list")
    assert Path("out.csv").read_text() == "mine"


def test_a_reason_to_withdraw_holds_no_address(home: Path) -> None:
    refused = _run("subscribers", "unsubscribe", "ada@okapi.example.org", "--reason", "ada@okapi.example.org asked")
    assert refused.exit_code == 2
    assert not any("withdrawn" in row[1] for row in _stored(home)[1])

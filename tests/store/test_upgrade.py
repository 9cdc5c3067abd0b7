"""A populated database goes through every later migration, including two that only tests have, and is complete afterward.

`tests/fixtures/revision_1001` was made at schema 1001 through the product's own actions, with the clock set by
time-machine: a new installation, an admin added to the staff, four people added by hand, a list of 15 of them imported (three
without evidence), four sign-ups by the form of which three were confirmed, the nightly run; then the bundled sample
collected without its pictures, drafted, approved, and sent to an outbox; a complaint and a bounce of delivered messages,
one reader leaving by the link of a mail, one withdrawn, one erased, one address barred, the nightly run again (the second
seal); a week later a second edition, incomplete, and a backup. Beside the backup stand its throw-away keys, its departure
log, and its settings. Every address is invented.

When a later migration renames a table, moves rows, or adds some, say so here.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, table, text

from digest.backups.archive import ArchiveReader
from digest.backups.loader import load_archive
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.edition.approval.approval_check import verify_approval
from digest.edition.approval.approved_versions import list_approvals, read_approved_version, read_draft_version
from digest.edition.edition_queries import find_edition
from digest.settings import load_settings
from digest.store.approval_models import ApprovalState
from digest.store.delivery_models import DeliveryState
from digest.store.engine import FIRST_REVISION, Database, open_database
from digest.store.models import EditionState
from subscribers.address import read_address
from subscribers.consent.audience import count_people_by_state, load_audience_page
from subscribers.consent.consent_texts import list_consent_texts
from subscribers.consent.seals import verify_ledger
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.signup import rate_limits
from subscribers.store.models import PersonState
from tests.later_revisions import LATER_REVISION
from tests.row_keys import lend_row_keys
from tests.run_database import run_on_server, sibling_database_url
from tests.subscribers.ledger_replay import find_ledger_differences

MOVED_ROWS = Counter(memo=1)  # by `LATER_REVISION`
FIXTURE = Path(__file__).parent.parent / "fixtures" / "revision_1001"
AUDIENCE = {
    1: "hand1@county.example",
    3: "hand3@county.example",
    **{number: f"listed{number - 4}@okapi.example.org" for number in (8, *range(12, 20))},
    20: "form1@county.example",
    22: "form3@county.example",
    23: "form4@county.example",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Copy the fixture; key files must be closed to other users."""
    shutil.copytree(FIXTURE, tmp_path / "home")
    (tmp_path / "home" / "keys.json").chmod(0o600)
    return tmp_path / "home"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'upgraded.db'}"
        return
    server: str = request.getfixturevalue("postgresql_url")
    run_on_server(server, "CREATE DATABASE upgraded")
    yield sibling_database_url(server, "upgraded")
    run_on_server(server, "DROP DATABASE upgraded WITH (FORCE)")


@contextmanager
def upgraded(url: str, home: Path, keys: KeyRing) -> Iterator[tuple[Database, ArchiveReader]]:
    """Load the backup into the schema of its time, migrate it, and lend it."""
    database, reader = lend_row_keys(open_database(url), home), ArchiveReader(FIXTURE / "backup.zip")
    try:
        assert reader.manifest.revision == FIRST_REVISION
        with database.engine.execution_options(immediate=True).begin() as connection:
            load_archive(connection, reader, keys)
        yield database, reader
    finally:
        reader.close()
        database.close()


@pytest.mark.usefixtures("later_revisions")
def test_a_populated_database_is_whole_after_every_later_migration(empty_database_url: str, home: Path) -> None:
    keys = KeyRing.load(home / "keys.json")
    settings = load_settings(
        home / "digest.toml", {"DIGEST_HOME": str(home), "DIGEST_BASE_URL": "https://news.example.org"}
    )
    with upgraded(empty_database_url, home, keys) as (database, reader), database.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == LATER_REVISION
        count = {name: session.scalar(select(func.count()).select_from(table(name))) for name in reader.manifest.tables}
        assert count == {name: archived.rows + MOVED_ROWS[name] for name, archived in reader.manifest.tables.items()}
        assert set(reader.manifest.tables) < set(inspect(database.engine).get_table_names())

        proof = verify_ledger(session, keys, tables=SEALED_TABLES, kept_hashes=["587c662", "951d4d"])
        assert proof.sound, proof
        assert (proof.people, proof.links, proof.seals, proof.suppressions, proof.disclosures) == (23, 33, 2, 4, 27)
        (wording,) = list_consent_texts(session)
        assert (wording.version, wording.text.startswith("Yes, send me HLS.Today by mail")) == ("1", True)
        assert list(find_ledger_differences(session)) == []

        audience = {member.number: member.decrypt_address(keys) for member in load_audience_page(session)}
        assert audience == AUDIENCE
        states = Counter({state: people for state, people in count_people_by_state(session).items() if people})
        assert states == {
            PersonState.SUBSCRIBED: 14,
            PersonState.UNVERIFIED: 3,
            PersonState.WITHDRAWN: 3,
            PersonState.SUPPRESSED: 2,
            PersonState.ERASED: 1,
        }

        sent, draft = find_edition(session, "2026-W47"), find_edition(session, "2026-W48")
        assert (sent.state, draft.state) == (EditionState.SENT, EditionState.INCOMPLETE)
        verify_approval(session, sent, settings=settings, keys=keys)
        (version,) = list_approvals(session, sent)
        assert read_approved_version(session, version) == read_draft_version(session, sent, settings), (
            "what was approved, byte for byte"
        )
        assert (version.version, version.state, version.edit_seq) == (1, ApprovalState.VALID, 0)
        assert [signed.actor for signed in version.signatures] == [sent.approved_by]
        assert (version.made_at, version.stood_at) == (sent.approved_at, sent.approved_at)
        assert list_approvals(session, draft) == ()
        delivery_counts = count_deliveries(session, make_edition_delivery_purpose("2026-W47"))
        assert (delivery_counts.planned, delivery_counts[DeliveryState.ACCEPTED]) == (19, 18)

        form1 = rate_limits.hash_mailbox(keys, read_address(AUDIENCE[20]))
        mailed = rate_limits.list_recent_mails(session, form1, now=sent.release_at)
        assert [kind for kind, _ in mailed] == ["confirm"], "the limits remember what a mailbox got"


def test_its_unsubscribe_log_reads_on(home: Path) -> None:
    log = UnsubscribeLog(home / "left.log", KeyRing.load(home / "keys.json"))
    kinds = Counter(departure.kind for departure in log.read())
    assert kinds == {"left": 2, "complained": 1, "bounced": 1, "erased": 1, "barred": 1}

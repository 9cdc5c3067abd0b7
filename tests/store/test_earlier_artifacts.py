"""What the previous version wrote, hashed, and signed is still valid: ledger, seals, audit log, unsubscribe log, links, and approval.

`tests/fixtures/earlier_artifacts` was made at commit a504bac7 through the product's own actions: the bundled sample collected and
drafted; four people added by hand, of whom one was unsubscribed, one erased, and one suppressed; the draft approved by an editor; the nightly
seal; a backup without media, articles, and proposals. Commit 2f39db49 upgraded it to the first release's schema. Beside the backup are its throw-away keys, its unsubscribe log, and two links of
person 1, in the first release's form. Every address is invented. Names in code may change; the values that these files contain may not.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from digest.backups.archive import ArchiveReader
from digest.backups.loader import load_archive
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.edition.approval.approval_check import verify_version
from digest.edition.approval.approved_versions import ApprovalError, list_approvals
from digest.edition.edition_queries import find_edition
from digest.settings import load_settings
from digest.store.approval_models import ApprovalState
from digest.store.audit_chain import verify_audit_log
from digest.store.engine import FIRST_REVISION, Database, open_database
from subscribers.consent.seals import verify_ledger
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.link_tokens import LinkPurpose, read_link_token

FIXTURE = Path(__file__).parent.parent / "fixtures" / "earlier_artifacts"
BASE_URL = "https://news.example.org"
LINKS: tuple[LinkPurpose, ...] = ("leave", "preferences")


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    """Give the keys; their file must be closed to other users."""
    file = Path(shutil.copy(FIXTURE / "keys.json", tmp_path / "keys.json"))
    file.chmod(0o600)
    return KeyRing.load(file)


@pytest.fixture
def restored(database: Database, keys: KeyRing, tmp_path: Path) -> Iterator[Database]:
    """Give the database of the backup, brought up to date from the schema of its time."""
    if database.engine.dialect.name == "postgresql":
        with database.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        empty = open_database(database.engine.url.render_as_string(hide_password=False))
    else:
        empty = open_database(f"sqlite:///{tmp_path}/restored.db")
    with closing(empty):
        with closing(ArchiveReader(FIXTURE / "backup.zip")) as reader, empty.engine.begin() as connection:
            assert reader.manifest.revision == FIRST_REVISION
            load_archive(connection, reader, keys)
        empty.row_keys.find = lambda: keys
        yield empty


def test_ledger_seals_and_audit_log_verify(restored: Database, keys: KeyRing) -> None:
    with restored.read() as session:
        proof = verify_ledger(session, keys, tables=SEALED_TABLES)
        assert proof.sound, proof
        assert (proof.people, proof.links, proof.seals, proof.suppressions) == (4, 7, 1, 2)
        log = verify_audit_log(session)
        assert (log.fault, log.rows > 7, log.sealed_through > 7) == ("", True, True)
        session.execute(text("UPDATE consent_event SET body = replace(body, 'paper list', 'other list')"))
        assert not verify_ledger(session, keys).sound, "the check can fail"
        session.rollback()


def test_the_unsubscribe_log_verifies(keys: KeyRing) -> None:
    entries = list(UnsubscribeLog(FIXTURE / "left.log", keys).read())
    assert Counter(entry.kind for entry in entries) == {"left": 1, "erased": 1, "barred": 1}


def test_links_still_lead_to_their_owner(keys: KeyRing) -> None:
    tokens = json.loads((FIXTURE / "links.json").read_text("utf-8"))
    assert [read_link_token(keys, tokens[purpose], purpose) for purpose in LINKS] == [(1, 0), (1, 0)]
    assert read_link_token(keys, tokens["leave"], "preferences") is None


def test_the_approval_verifies(restored: Database, keys: KeyRing, tmp_path: Path) -> None:
    settings = load_settings(None, {"DIGEST_HOME": str(tmp_path), "DIGEST_BASE_URL": BASE_URL})
    with restored.read() as session:
        edition = find_edition(session, "2026-W47")
        (version,) = list_approvals(session, edition)
        assert (version.state, [signed.actor for signed in version.signatures]) == (ApprovalState.VALID, ["staff 1"])
        verify_version(session, edition, version, settings=settings, keys=keys)
        session.execute(text("UPDATE approved_fragment SET body = 'other' WHERE name = 'foot'"))
        session.expire_all()
        with pytest.raises(ApprovalError, match="the text changed"):
            verify_version(session, edition, version, settings=settings, keys=keys)

"""A populated database of an older schema goes through every later migration and is whole afterwards.

`tests/fixtures/revision_0002` was made by version 0.1.0 at commit 4a01f1e (schema 0002) through the product's own acts,
with the clock set by time-machine: `digest init`, an admin added to the staff, four people added by hand, a list of 15 of
them imported (three without evidence), four sign-ups by the form of which three were confirmed, the nightly run; then
the bundled sample collected without its pictures, drafted, approved, and sent to an outbox; a complaint and a bounce
of delivered messages, one reader leaving by the link of a mail, one withdrawn, one erased, one address barred, the nightly
run again (the second seal); a week later a second edition, incomplete, and `digest backup`. Beside the backup stand its
throw-away keys, its departure log and its settings. Every address is invented.

When a later migration renames a table, moves rows or adds some, say so here. Since 0005 a consent is bound to its address: the
migration moves no row, and the first start with the keys (here `add_missing_address_commitments`) appends one link to each chain whose address is there.
0003 moves no row: deliveries that may be sent again keep the time of their handing over as their Date.
0014 moves no row: no advisory of before is superseded until a draft looks at its page.
0011 moves no row: no source of before has a default topic until its settings name one.
0007 moves no row: everybody's links are of generation 0, and those of mails that were sent go on working.
0010 moves no row: an edition of before has no edits, and no stored proposal until it is drafted again.
0016 moves no row: nobody has a clipboard yet.
0025 moves no row: nobody has sent an edition back yet.
0026 moves no row: what editors changed of a version of before is not counted.
0029 moves no row: it drops a column that nothing has read since 0018.
0027 moves no row: it gives each row of the audit log its place in the chain.
0028 moves no row: how sources behaved is counted from then on.
0032 fills the register of wordings from what forms and our own questions asked readers by: here one text, version 1.
0030 moves no row: the next night counts what is there.
0020 moves no row: nothing was skipped, moved or added before there was a calendar.
0023 moves no row: nothing of before was imported yet.
0008 renames the tags of addresses in `signup_request` and `signup_mail` to those of mailboxes, and keeps them.
0015 adds the table of words, which the first draft of the next window fills.
0018 makes what was approved version 1 of its edition, with its signature and a copy of its fragments.
0021 moves no row: nothing was corrected before.
0024 moves no row: it gives the names of fragments more room.
0019 moves no row: whose words the summary of an article of before is stays unknown until its source is read again.
0036 moves no row: which variant a reader got of an edition of before is not known.
0037 moves no row: fragments of before have no slots, and what was approved of a coming edition is to be approved again.
0043 takes corrections whose emails were queued for approved; the email of one that was only requested needs an approval.
0060 moves no row: those that let somebody in are sealed when the installation is opened with its keys.
0082 moves no row: slots of before don't say when they were taken.
0012 adds the tables of staff accounts and moves no row: who was on the staff before signs in by a link first.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, column, func, insert, inspect, select, table, text, update
from sqlalchemy.types import TypeEngine

from digest.backups.archive import ArchiveReader
from digest.backups.loader import create_schema_and_insert_rows, restore_rows
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.retention.delivery_seals import SEALED_TABLES, seal_deliveries
from digest.edition.approval.approval_check import verify_approval
from digest.edition.approval.approved_versions import (
    ApprovalError,
    list_approvals,
    read_approved_version,
    read_draft_version,
)
from digest.edition.edition_queries import find_edition
from digest.settings import Settings, load_settings
from digest.store.approval_models import Approval, ApprovalState, ApprovedRenderedFragment
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database, newest_schema_revision, open_database, run_migrations_to_revision
from digest.store.models import EditionState
from subscribers.address import read_address
from subscribers.consent.audience import count_people_by_state, load_audience_page
from subscribers.consent.consent_chain_backfill import add_missing_address_commitments
from subscribers.consent.consent_texts import list_consent_texts
from subscribers.consent.disclosure_sealing import seal_disclosures
from subscribers.consent.seals import verify_ledger
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.signup import rate_limits
from subscribers.store.models import Person, PersonState, UtcDateTime
from tests.row_keys import lend_row_keys
from tests.run_database import run_on_server, sibling_database_url
from tests.subscribers.ledger_replay import find_ledger_differences

UPGRADED_AT = datetime(2026, 12, 1, tzinfo=UTC)
FIXTURE = Path(__file__).parent.parent / "fixtures" / "revision_0002"
AUDIENCE = {
    1: "hand1@county.example",
    3: "hand3@county.example",
    4: "hand4@county.example",
    **{number: f"listed{number - 4}@okapi.example.org" for number in (5, 8, 9, 10, 12, 13, 14, 15, 16)},
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
        assert reader.manifest.revision == "0002"
        with database.engine.execution_options(immediate=True).begin() as connection:
            restore_rows(connection, reader, keys)
        yield database, reader
    finally:
        reader.close()
        database.close()


def test_a_database_of_the_schema_0002_is_whole_after_every_later_migration(
    empty_database_url: str, home: Path
) -> None:
    keys = KeyRing.load(home / "keys.json")
    settings = load_settings(
        home / "digest.toml", {"DIGEST_HOME": str(home), "DIGEST_BASE_URL": "https://news.example.org"}
    )
    with upgraded(empty_database_url, home, keys) as (database, reader), database.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == newest_schema_revision()
        count = {name: session.scalar(select(func.count()).select_from(table(name))) for name in reader.manifest.tables}
        assert count == {name: archived.rows for name, archived in reader.manifest.tables.items()}
        assert set(reader.manifest.tables) < set(inspect(database.engine).get_table_names())

        unbound = verify_ledger(session, keys, kept_hashes=["86b0c0f", "841f36"])
        assert (unbound.broken, unbound.fault) == (None, "")
        assert (unbound.people, unbound.links, unbound.seals, unbound.suppressions) == (23, 33, 2, 3)
        addresses = unbound.address_fault_count
        assert addresses == session.scalar(
            select(func.count()).select_from(Person).where(Person.ciphertext.is_not(None))
        )
        assert add_missing_address_commitments(database, keys, now=UPGRADED_AT) == addresses == 21
        session.rollback()
        proof = verify_ledger(session, keys, kept_hashes=["86b0c0f", "841f36"])
        assert proof.sound, proof
        assert (proof.people, proof.links, proof.seals, proof.suppressions) == (23, 33 + addresses, 2, 3)
        assert add_missing_address_commitments(database, keys, now=UPGRADED_AT) == 0
        session.rollback()
        # What was there is sealed from here on.
        sealed = seal_deliveries(database, keys, now=UPGRADED_AT)
        sealed += seal_disclosures(database, keys, now=UPGRADED_AT)
        proof = verify_ledger(session, keys, tables=SEALED_TABLES)
        assert (proof.sound, proof.disclosures) == (True, sealed), proof
        assert sealed > 0
        (wording,) = list_consent_texts(session)
        assert (wording.version, wording.text.startswith("Yes, send me HLS.Today by mail")) == ("1", True)
        assert list(find_ledger_differences(session)) == []

        audience = {member.number: member.decrypt_address(keys) for member in load_audience_page(session)}
        assert audience == AUDIENCE
        states = Counter({state: people for state, people in count_people_by_state(session).items() if people})
        assert states == {
            PersonState.SUBSCRIBED: 15,
            PersonState.UNVERIFIED: 3,
            PersonState.WITHDRAWN: 3,
            PersonState.SUPPRESSED: 1,
            PersonState.ERASED: 1,
        }

        sent, draft = find_edition(session, "2026-W47"), find_edition(session, "2026-W48")
        assert (sent.state, draft.state) == (EditionState.SENT, EditionState.INCOMPLETE)
        with pytest.raises(ApprovalError, match="approved in an older version that used insecure placeholders"):
            verify_approval(session, sent, settings=settings, keys=keys)
        (version,) = list_approvals(session, sent)
        assert read_approved_version(session, version) == read_draft_version(session, sent, settings), (
            "what was approved, byte for byte"
        )
        assert (version.version, version.state, version.edit_seq) == (1, ApprovalState.VALID, 0)
        assert [signed.actor for signed in version.signatures] == [sent.approved_by]
        assert (version.made_at, version.stood_at) == (sent.approved_at, sent.approved_at)
        assert list_approvals(session, draft) == ()
        session.execute(
            update(ApprovedRenderedFragment).where(ApprovedRenderedFragment.name == "foot").values(body="other")
        )
        session.expire_all()
        with pytest.raises(ApprovalError, match="the text changed"):
            verify_approval(session, sent, settings=settings, keys=keys)
        delivery_counts = count_deliveries(session, make_edition_delivery_purpose("2026-W47"))
        assert (delivery_counts.planned, delivery_counts[DeliveryState.ACCEPTED]) == (19, 18)

        form1 = rate_limits.hash_mailbox(keys, read_address(AUDIENCE[20]))
        mailed = rate_limits.list_recent_mails(session, form1, now=sent.release_at)
        assert [kind for kind, _ in mailed] == ["confirm"], "the limits remember what a mailbox got"


def test_its_unsubscribe_log_reads_on(home: Path) -> None:
    log = UnsubscribeLog(home / "left.log", KeyRing.load(home / "keys.json"))
    kinds = Counter(departure.kind for departure in log.read())
    assert kinds == {"left": 2, "complained": 1, "bounced": 1, "erased": 1, "barred": 1}


def test_an_email_of_a_correction_that_was_only_requested_needs_an_approval_after_the_upgrade(
    empty_database_url: str,
) -> None:
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    texts = ("actor", "signed", "url", "section", "headline", "field", "was", "becomes", "note")
    with (
        closing(open_database(empty_database_url)) as database,
        closing(ArchiveReader(FIXTURE / "backup.zip")) as reader,
    ):
        with database.engine.execution_options(immediate=True).begin() as connection:
            create_schema_and_insert_rows(connection, reader)
            run_migrations_to_revision(connection, "0042")
            for seq, planned in enumerate((at, None), 1):
                names = ", ".join(("edition_id, seq, at, is_carried, mail_asked_at, mail_planned_at", *texts))
                words = ", ".join(["'x'"] * len(texts))
                insertion = text(
                    f"INSERT INTO correction ({names}) SELECT max(id), :seq, :at, false, :at, :planned, {words} FROM edition"
                )
                moments = [bindparam(name, type_=UtcDateTime()) for name in ("at", "planned")]
                values = {"seq": seq, "at": at, "planned": planned}
                connection.execute(insertion.bindparams(*moments), values)
            run_migrations_to_revision(connection, newest_schema_revision())
        with database.read() as session:
            queued, requested = session.scalars(select(Correction).order_by(Correction.seq))
            assert (queued.mail_approved_at, requested.mail_approved_at) == (queued.mail_asked_at, None)
            assert (queued.signatures, requested.signatures) == ([], [])


def settings_of(settings: Settings, version: Approval) -> Settings:
    """Give the settings with the base URL that a version was approved with."""
    return settings.model_copy(update={"base_url": version.statement["list"][-1]})


def test_what_may_be_sent_again_keeps_the_time_of_its_handing_over_as_its_date(empty_database_url: str) -> None:
    at = datetime(2026, 11, 20, 11, tzinfo=UTC)
    columns = ("id", "purpose", "state", "due_at", "next_try_at", "tries", "message_id", "transport", "reply")
    handed = {"waiting": at, "uncertain": at, "accepted": at, "cancelled": None}
    database = open_database(empty_database_url)
    try:
        with database.engine.execution_options(immediate=True).begin() as connection:
            run_migrations_to_revision(connection, "0002")
            for state, handed_at in handed.items():
                values = (state, "edition:2026-W47", state, at, at, 0, "", "smtp", "")
                row = dict(zip(columns, values, strict=True)) | {"handed_at": handed_at}
                connection.execute(insert(table("delivery", *(column(name, type_of(name)) for name in row))), row)
            run_migrations_to_revision(connection, newest_schema_revision())
            found = connection.execute(select(Delivery.state, Delivery.first_handed_at)).all()
        assert {str(state): moment for state, moment in found} == handed | {"accepted": None}
    finally:
        database.close()


def type_of(name: str) -> TypeEngine[Any]:
    """Give the type of a column of today's table, which it had from the start."""
    return inspect(Delivery).local_table.c[name].type

"""Any interleaving of people's events keeps the laws of consent."""

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from digest.store.engine import migrate_schema, open_database
from subscribers.address import read_address
from subscribers.consent import audience, seals, suppression
from subscribers.consent.consent_texts import ConsentText
from subscribers.consent.evidence import RequestOrigin
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import expiry, undo
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.lifecycle.unsubscribe_log_merge import merge_unsubscribe_log
from subscribers.mail_requests import MailRequest
from subscribers.signup import manual_signup, permission_requests, request_queue
from subscribers.signup.confirmation import ConfirmationLinkState, confirm_subscription
from subscribers.signup.manual_signup import ConsentEvidence, SignupRefusedError
from subscribers.signup.rate_limits import SignupLimits
from subscribers.signup.request_processor import RequestProcessor
from subscribers.signup.request_queue import FormSubmission
from subscribers.store import people
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.subscriber_language import ENGLISH
from subscribers.transfer.import_batches import list_unfinished_imports
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.import_undo import abandon_batch
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from tests.moments import AFTER_RELEASE as START
from tests.shared_statements import share_compiled_statements
from tests.subscribers.crashes import Crash, crash_at
from tests.subscribers.ledger_replay import find_ledger_differences, fold_state, replay_ledger

KEYS = KeyRing.from_seed(b"laws of consent")
NAMES = ("ada", "bo", "cy")
WHO = st.sampled_from(NAMES)
BOUNDS = SignupLimits()
MACHINE = RequestOrigin("192.0.2.7", "a browser")
YEAR = timedelta(days=365)


def _address(name: str) -> str:
    return f"{name}@{name}.example.org"


@dataclass
class Story:
    """What happened to one address, told without any of our tables."""

    consent: bool = False  # somebody consented, or vouched, and they have not departed since
    departed: bool = False  # left, complained, bounced or erased, with no own word since: no list brings them back
    gravely: bool = False  # complained or erased, with no own word since
    by_hand: datetime | None = None  # when they left by their own hand: it can be taken back
    asked: datetime | None = None  # when we asked them, once, whether they want the mail

    def depart(self, *, gravely: bool = False, by_hand: datetime | None = None) -> None:
        self.consent, self.departed, self.by_hand = False, True, by_hand
        self.gravely = self.gravely or gravely

    def own_word(self) -> None:
        self.consent, self.departed, self.gravely, self.by_hand = True, False, False, None
        self.asked = None


@dataclass
class Copy:
    """A backup: the file, who had consented and who was asked when it was made, and who departed with a log entry since."""

    file: Path
    consent: set[str]
    asked: dict[str, datetime | None]
    gone_since: set[str] = field(default_factory=set)


class Life(RuleBasedStateMachine):
    """People live through everything that the product lets happen to them."""

    template: Path

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="laws-"))
        self.file = self.folder / "digest.db"
        shutil.copy(_template(), self.file)
        self.database = share_compiled_statements(open_database(f"sqlite:///{self.file}"))
        self.database.row_keys.find = lambda: KEYS
        self.unsubscribe_log = UnsubscribeLog(self.folder / "left.log", KEYS)
        self.now = START
        self.stories = {name: Story() for name in NAMES}
        self.undo_tokens: list[tuple[str, str]] = []  # of pages, with the name of who left by them
        self.links: list[tuple[str, str]] = []  # mailed confirmation tokens with the address they went to
        self.copy: Copy | None = None
        self.lists = 0
        self.cut: tuple[Path, list[str], bool] | None = None  # an import that was cut short
        self.worker = RequestProcessor(self.database, KEYS, BOUNDS, YEAR, self._queue)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.database.close()
            shutil.rmtree(self.folder)

    def _queue(self, session: Session, note: MailRequest) -> None:
        if note.kind in {"confirm", "remind", "ask"}:
            names = [
                n for n in NAMES if people.find_person_number(session, KEYS, read_address(_address(n))) == note.person
            ]
            self.links.append((note.context["token"], names[0]))

    def _number(self, session: Session, name: str) -> int | None:
        return people.find_person_number(session, KEYS, read_address(_address(name)))

    def _gone(self, name: str, *, gravely: bool = False, by_hand: bool = False) -> None:
        self.stories[name].depart(gravely=gravely, by_hand=self.now if by_hand else None)
        if self.copy:
            self.copy.gone_since.add(name)

    @rule(name=WHO, kind=st.sampled_from([ConsentKind.CONFIRMED, ConsentKind.ATTESTED]))
    def an_admin_adds(self, name: str, kind: Any) -> None:
        evidence = ConsentEvidence("Yes.", "of the list", "en", "hls.today", "list", "eve", self.now, kind=kind)
        try:
            with self.database.write() as session:
                manual_signup.add_subscriber(session, KEYS, _address(name), evidence=evidence, now=self.now)
        except SignupRefusedError:
            assert self.stories[name].departed or self.copy, "refused though nothing speaks against it"
            return
        assert not self.stories[name].gravely, "an admin's word brought somebody back"
        self.stories[name].consent = True

    @rule(name=WHO)
    def somebody_types_the_address_into_the_form(self, name: str) -> None:
        wording = ConsentText("en", "Yes, send me the digest.")
        submission = FormSubmission(
            "subscribe", read_address(_address(name)), self.now, "/subscribe", "hls.today", wording, MACHINE
        )
        form = request_queue.prepare_request(KEYS, submission)
        with self.database.write() as session:
            request_queue.enqueue_request(session, form, BOUNDS)
        self.worker.process_pending(lambda: self.now)

    @precondition(lambda self: bool(getattr(self, "links", None)))
    @rule(data=st.data())
    def a_confirmation_link_is_used(self, data: st.DataObject) -> None:
        self._confirm(*data.draw(st.sampled_from(self.links)))

    def _confirm(self, token: str, name: str) -> None:
        with self.database.write() as session:
            link = confirm_subscription(
                session,
                KEYS,
                token,
                origin=MACHINE,
                evidence_retention=YEAR,
                queue=self._queue,
                language=ENGLISH,
                now=self.now,
            )
        if link.stage is ConfirmationLinkState.CONFIRMED and link.new:
            self.stories[name].own_word()
            if self.copy:
                self.copy.gone_since.discard(name)  # of a restored copy that lost this word nothing is promised
                self.copy.consent.discard(name)

    @rule(name=WHO, method=st.sampled_from(["one-click", "page", "admin: by phone"]))
    def somebody_leaves(self, name: str, method: str) -> None:
        with self.database.write() as session:
            number = self._number(session, name)
            changed = number and unsubscribe_person(session, self.unsubscribe_log, number, method=method, now=self.now)
            if changed and method == "page":
                self.undo_tokens.append((undo.issue_undo_token(session, number or 0, now=self.now), name))
        if changed:
            self._gone(name, by_hand=not method.startswith("admin"))

    @precondition(lambda self: bool(getattr(self, "undo_tokens", None)))
    @rule(data=st.data())
    def somebody_takes_it_back(self, data: st.DataObject) -> None:
        """Use any token that was ever made: one of an earlier departure, too, must take no later one back."""
        token, name = data.draw(st.sampled_from(self.undo_tokens))
        story = self.stories[name]
        with self.database.write() as session:
            undone = undo.undo_unsubscribe(session, KEYS, token, now=self.now)
        if undone.undone is not None:
            self.unsubscribe_log.append(undone.undone, at=self.now)
            assert (token, name) == [pair for pair in self.undo_tokens if pair[1] == name][-1], "an older departure's"
            assert not story.gravely, "undone after a complaint or an erasure"
            assert story.by_hand is None or self.now < story.by_hand + timedelta(days=7)
            story.own_word()
            if self.copy:
                self.copy.gone_since.discard(name)

    @rule(name=WHO, reason=st.sampled_from(["bounced", "complained", "complaint by mail", "by an admin"]))
    def an_address_is_suppressed(self, name: str, reason: Any) -> None:
        address = read_address(_address(name))
        with self.database.write() as session:
            suppression.suppress_address(
                session, KEYS, address, reason=reason, actor="hook", now=self.now, unsubscribe_log=self.unsubscribe_log
            )
        self.stories[name].depart(gravely=reason == "complained")
        if self.copy:
            self.copy.gone_since.add(name)

    @rule(name=WHO)
    def somebody_is_erased(self, name: str) -> None:
        with self.database.write() as session:
            number = self._number(session, name)
            erased = number and erase_person(
                session,
                KEYS,
                self.unsubscribe_log,
                number,
                method="page",
                forget_elsewhere=erase_from_deliveries,
                now=self.now,
            )
        if erased:
            self._gone(name, gravely=True)

    @rule(name=WHO, omit=st.sampled_from(["events", "products"]))
    def somebody_chooses(self, name: str, omit: str) -> None:
        with self.database.write() as session:
            number = self._number(session, name)
            if number and audience.may_email_person(session, number):
                change_preferences(session, number, Preferences(omit=frozenset({omit})), self.now)

    @rule(names=st.lists(WHO, min_size=1, max_size=4), evidence=st.booleans(), attest=st.booleans())
    def a_list_comes_in(self, names: list[str], evidence: bool, attest: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        self._bring_in(self._list(names, evidence=evidence), attest=attest)
        self._listed(names, granted=evidence or attest)

    def _list(self, names: list[str], *, evidence: bool) -> Path:
        self.lists += 1
        path = self.folder / f"list{self.lists}.csv"
        day = "2020-01-01 10:00:00" if evidence else ""
        rows = [f"{_address(n)},{day},{day},198.51.100.{self.lists % 250}" for n in names]
        path.write_text("\n".join(["Email Address,OPTIN_TIME,CONFIRM_TIME,CONFIRM_IP", *rows]) + "\n")
        return path

    def _bring_in(self, path: Path, *, attest: bool = False) -> None:
        run_import(
            ImportContext(self.database, KEYS, self.unsubscribe_log, "eve"),
            survey_file(path),
            ImportOptions(attest_reason="they asked at the expo" if attest else None),
            now=self.now,
            on_reject=lambda *_: None,
        )

    def _listed(self, names: list[str], *, granted: bool) -> None:
        for name in names if granted else []:
            self.stories[name].consent |= not self.stories[name].departed

    @precondition(lambda self: getattr(self, "cut", None) is None)
    @rule(names=st.lists(WHO, min_size=1, max_size=4), evidence=st.booleans(), commit=st.integers(2, 4))
    def a_list_is_cut_short(self, names: list[str], evidence: bool, commit: int) -> None:  # noqa: FBT001 - drawn by hypothesis
        path = self._list(names, evidence=evidence)
        try:
            with crash_at(commit):
                self._bring_in(path)
        except Crash:
            self.cut = (path, names, evidence)
        else:
            self._listed(names, granted=evidence)

    @precondition(lambda self: getattr(self, "cut", None) is not None)
    @rule(drop=st.booleans())
    def the_list_is_run_again_or_dropped(self, drop: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        assert self.cut is not None
        (path, names, evidence), self.cut = self.cut, None
        if drop:
            with self.database.read() as session:
                begun = list_unfinished_imports(session)
            for unfinished in begun:
                abandon_batch(self.database, unfinished.batch, actor="eve", now=self.now)
            return
        self._bring_in(path)
        self._listed(names, granted=evidence)

    @rule()
    def those_without_evidence_are_asked(self) -> None:
        links = len(self.links)
        permission_requests.queue_permission_emails(
            self.database,
            KEYS,
            self._queue,
            wording=ConsentText("en", "Yes, send me the digest."),
            page="/confirm",
            actor="eve",
            limit=10,
            now=self.now,
        )
        for _, name in self.links[links:]:
            story = self.stories[name]
            assert story.asked is None or self.copy, "asked twice"
            assert not story.gravely, "asked after a complaint or an erasure"
            story.asked = self.now

    @rule(hours=st.sampled_from([0.001, 1, 30, 24 * 8, 24 * 31]))
    def time_passes(self, hours: float) -> None:
        self.now += timedelta(hours=hours)
        expiry.expire_unconfirmed_requests(self.database, now=self.now)
        expiry.delete_expired_addresses(self.database, now=self.now)
        for story in self.stories.values():
            if story.asked and not story.consent and self.now >= story.asked + timedelta(days=7):
                story.departed = True  # they did not answer: no list has them asked, or mailed, again

    @rule(name=WHO)
    def somebody_leaves_and_then_complains(self, name: str) -> None:
        self.somebody_leaves(name, "one-click")
        self.an_address_is_suppressed(name, "complained")
        with self.database.read() as session:
            suppressed = suppression.find_suppression(session, KEYS, read_address(_address(name)))
            assert suppressed is not None
            assert suppressed.reason == "complained"
            number = self._number(session, name)
            state = fold_state(
                session.scalars(
                    select(ConsentEvent.kind).where(ConsentEvent.person == (number or 0)).order_by(ConsentEvent.seq)
                )
            )
            assert number is None or state in {PersonState.SUPPRESSED, PersonState.ERASED}
        lines = [d.kind for d in self.unsubscribe_log.read()]
        assert "complained" in lines

    @rule(name=WHO, word=st.sampled_from(list(DeliveryFeedbackKind)))
    def a_provider_speaks_of_somebody(self, name: str, word: DeliveryFeedbackKind) -> None:
        with self.database.write() as session:
            number = self._number(session, name)
            report = DeliveryFeedbackReport(number or 0, word, self.now, "hook", {})
            changed, departed = apply_feedback_to_person(session, KEYS, report, now=self.now)
            self.unsubscribe_log.append_all([departed] if departed else [], at=self.now)
        if changed:
            assert departed is not None, "a departure that the journal does not know"
            self._gone(name, gravely=word is DeliveryFeedbackKind.COMPLAINED)

    @invariant()
    def no_address_is_kept_for_longer_than_it_serves(self) -> None:
        if not hasattr(self, "stories"):
            return
        with self.database.read() as session:
            for person in session.scalars(select(Person).where(Person.ciphertext.is_not(None))):
                assert person.state is not PersonState.ERASED
                events = select(ConsentEvent).where(ConsentEvent.person == person.number)
                last = max(link.at for link in session.scalars(events))
                served = person.state is PersonState.SUBSCRIBED
                assert served or last > self.now - timedelta(days=31), "an address that serves nothing"

    @rule()
    def a_backup_is_made(self) -> None:
        file = self.folder / "copy.db"
        file.unlink(missing_ok=True)
        with self.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("VACUUM INTO ?", (str(file),))
            connection.exec_driver_sql("BEGIN")
        consent = {name for name, story in self.stories.items() if story.consent}
        self.copy = Copy(file, consent, {name: story.asked for name, story in self.stories.items()})

    @precondition(lambda self: bool(getattr(self, "copy", None)))
    @rule()
    def the_backup_is_restored(self) -> None:
        assert self.copy is not None
        self.database.close()
        for file in self.folder.glob("digest.db*"):
            file.unlink()
        shutil.copy(self.copy.file, self.file)
        self.now += timedelta(seconds=1)
        with self.database.write() as session:
            merge_unsubscribe_log(
                session, self.unsubscribe_log, KEYS, forget_elsewhere=erase_from_deliveries, now=self.now
            )
        with self.database.write() as session:
            merged = merge_unsubscribe_log(
                session, self.unsubscribe_log, KEYS, forget_elsewhere=erase_from_deliveries, now=self.now
            )
        assert (merged.departed.total(), merged.unknown_hashes) == (0, 0)
        # What the first night after a restore does: of requests that ran out meanwhile no address stays either.
        expiry.expire_unconfirmed_requests(self.database, now=self.now)
        expiry.delete_expired_addresses(self.database, now=self.now)
        with self.database.read() as session:
            for name, story in self.stories.items():
                number = self._number(session, name)
                mailed = bool(number) and audience.may_email_person(session, number or 0)
                kept = name in self.copy.consent and name not in self.copy.gone_since
                assert not (mailed and name in self.copy.gone_since), "a restored copy brought somebody back"
                story.consent = mailed and (kept or story.consent)
                story.departed = story.departed and not mailed
                story.by_hand = None
                story.asked = self.copy.asked[name]

    @rule(name=WHO)
    def somebody_signs_up(self, name: str) -> None:
        self.somebody_types_the_address_into_the_form(name)
        mine = [token for token, whose in self.links if whose == name]
        if mine:
            self._confirm(mine[-1], name)

    @rule(
        name=WHO,
        how=st.sampled_from(
            ["left", "bounced", "by an admin", "complained", "complaint by mail", "left, complained", "erased"]
        ),
        known=st.booleans(),
    )
    def somebody_departs_after_the_backup_and_it_is_restored(self, name: str, how: str, known: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        """What chance rarely puts in this order; `known`: the person is in the copy already, else they came since."""
        if not known:
            self.a_backup_is_made()
        self.somebody_signs_up(name)
        if known:
            self.a_backup_is_made()
        if how == "left":
            self.somebody_leaves(name, "one-click")
        elif how == "left, complained":
            self.somebody_leaves_and_then_complains(name)
        elif how == "erased":
            self.somebody_is_erased(name)
        else:
            self.an_address_is_suppressed(name, how)
        self.the_backup_is_restored()
        with self.database.read() as session:
            barred = suppression.find_suppression(session, KEYS, read_address(_address(name)))
        if how != "left":
            reason = how.removeprefix("left, ")
            assert barred is not None, "a restore lost a bar"
            assert suppression.rank_reason(barred.reason) <= suppression.rank_reason(reason)
        self.a_list_comes_in([name], evidence=True, attest=False)

    @rule(data=st.data())
    def a_flipped_byte_is_found(self, data: st.DataObject) -> None:
        with self.database.write() as session:
            links = list(session.execute(text("SELECT id, kind, at, body, previous, hash FROM consent_event")))
            if not links:
                return
            link = data.draw(st.sampled_from(links))
            column = data.draw(st.sampled_from(["kind", "at", "body", "previous", "hash"]))
            value = str(getattr(link, column)).encode()
            if not value:
                return
            place = data.draw(st.integers(0, len(value) - 1))
            flip = data.draw(st.integers(1, 127))
            changed = bytes(b ^ (flip if i == place else 0) for i, b in enumerate(value))
            with session.begin_nested() as step:
                session.execute(
                    text(f"UPDATE consent_event SET {column} = CAST(:v AS TEXT) WHERE id = :id"),
                    {"v": changed, "id": link.id},
                )
                assert seals.verify_ledger(session, KEYS).broken is not None
                step.rollback()

    @rule()
    def the_night_seals(self) -> None:
        through = seals.find_last_fully_committed_rows(self.database)
        with self.database.read() as session:
            proof = seals.verify_ledger(session, KEYS, through=through)
        assert proof.sound, proof
        assert proof.summary is not None
        with self.database.write() as session:
            seals.append_seal(session, proof.summary, self.now)

    @invariant()
    def only_who_consented_and_did_not_depart_is_mailed(self) -> None:
        if not hasattr(self, "stories"):
            return
        with self.database.read() as session:
            mailed = {subscriber.decrypt_address(KEYS) for subscriber in audience.load_audience_page(session)}
            counted = audience.count_audience(session)
        assert counted == len(mailed), "somebody stands on the roll twice"
        for name, story in self.stories.items():
            if _address(name) in mailed:
                assert story.consent, f"{name} is mailed and did not consent, or departed since"
                assert not story.gravely, f"{name} is back after a complaint or an erasure"

    @invariant()
    def the_ledger_gives_the_roll_and_verifies(self) -> None:
        if not hasattr(self, "stories"):
            return
        with self.database.read() as session:
            by_ledger = {n for n, state in replay_ledger(session) if state is PersonState.SUBSCRIBED}
            begun = set(session.scalars(select(Person.number).where(~audience.build_finished_import_condition())))
            assert by_ledger - begun == {subscriber.number for subscriber in audience.load_audience_page(session)}
            assert list(find_ledger_differences(session)) == []
            proof = seals.verify_ledger(session, KEYS)
            assert proof.broken is None, proof
            assert proof.links == session.scalar(select(func.count()).select_from(ConsentEvent))


_templates: list[Path] = []


def _template() -> Path:
    """Give an empty database; migrating anew for each story would take most of the time."""
    if not _templates:
        file = Path(tempfile.mkdtemp(prefix="laws-template-")) / "digest.db"
        database = open_database(f"sqlite:///{file}")
        migrate_schema(database)
        database.close()
        _templates.append(file)
    return _templates[0]


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

"""Sign-up below the pages: sealed forms, their answers, confirmations, and unconfirmed forms."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from digest.app.subscribers.consent_texts import build_consent_text
from digest.settings import ConsentSettings, Settings, SettingsFileContent
from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import audience, evidence, seals, suppression
from subscribers.consent.evidence import RequestOrigin
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import erasure, expiry
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.mail_requests import MailRequest
from subscribers.signup import confirmation, manual_signup, rate_limits, request_queue
from subscribers.signup.confirmation import ConfirmationLink, ConfirmationLinkState
from subscribers.signup.manual_signup import ConsentEvidence, SignupRefusedError
from subscribers.signup.rate_limits import NetworkQuota, SignupLimits, SubmissionOutcome
from subscribers.signup.request_processor import BLOCKING_REASONS, RequestProcessor, SignupReplyKind
from subscribers.signup.request_queue import FormSubmission
from subscribers.store import one_time_tokens, people
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState, Suppression
from subscribers.store.signup_models import (
    FormKind,
    OneTimeToken,
    RateLimitCount,
    RequestEvidence,
    SignupMail,
    SignupRequest,
    SignupSurge,
)
from subscribers.subscriber_language import ENGLISH
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.suppressions.suppression_adoption import adopt_suppressions
from tests.conftest import forget_nowhere_else
from tests.moments import DRAFTING as NOW
from tests.subscribers.stored_evidence import open_evidence
from tests.subscribers.transfer.suppression_files import file_of

KEYS = KeyRing.from_seed(b"sign-up tests")
ADA = "Ada.Lovelace@analytical.example"
MACHINE = RequestOrigin("93.184.216.34", "Browser/1")
NO_CHOICE = Preferences()


@dataclass
class House:
    """People, a worker, a clock, and what it queued."""

    database: Database
    unsubscribe_log: UnsubscribeLog
    now: datetime = NOW
    bounds: SignupLimits = field(default_factory=SignupLimits)
    notes: list[MailRequest] = field(default_factory=list)
    queue: Callable[[Session, MailRequest], None] | None = None
    settings: Settings = field(default_factory=Settings)

    def ask(
        self,
        address: str = ADA,
        *,
        kind: FormKind = "subscribe",
        machine: RequestOrigin = MACHINE,
        preferences: Preferences = NO_CHOICE,
    ) -> SubmissionOutcome:
        wording = build_consent_text(self.settings) if kind == "subscribe" else None
        page = "https://hls.today/"
        submission = FormSubmission(
            kind, read_address(address), self.now, page, "hls.today", wording, machine, preferences.as_json()
        )
        form = request_queue.prepare_request(KEYS, submission)
        with self.database.write() as session:
            return request_queue.enqueue_request(session, form, self.bounds)

    def work(self) -> dict[SignupReplyKind, int]:
        queue = self.queue or (lambda _session, note: self.notes.append(note))
        worker = RequestProcessor(self.database, KEYS, self.bounds, timedelta(days=90), queue)
        answers = worker.process_pending(lambda: self.now)
        return {answer: count for answer, count in answers.items() if count}

    def asked(
        self, address: str = ADA, *, preferences: Preferences = NO_CHOICE, **by: float
    ) -> dict[SignupReplyKind, int]:
        """Let time pass, send a form, and have it answered."""
        self.now += timedelta(**by)
        assert self.ask(address, preferences=preferences) is SubmissionOutcome.ACCEPTED
        return self.work()

    def confirm(self, token: str | None = None) -> ConfirmationLink:
        with self.database.write() as session:
            return confirmation.confirm_subscription(
                session,
                KEYS,
                token or self.token,
                origin=RequestOrigin("93.184.216.99", "Phone/2"),
                evidence_retention=timedelta(days=90),
                queue=lambda _session, note: self.notes.append(note),
                language=ENGLISH,
                now=self.now,
            )

    def look(self, token: str | None = None) -> ConfirmationLink:
        with self.database.read() as session:
            return confirmation.look_up_confirmation(session, KEYS, token or self.token, language=ENGLISH, now=self.now)

    @property
    def token(self) -> str:
        return str([n for n in self.notes if "token" in n.context][-1].context["token"])

    @property
    def kinds(self) -> list[str]:
        return [note.kind for note in self.notes]

    def person(self, address: str = ADA) -> Person | None:
        with self.database.read() as session:
            number = people.find_person_number(session, KEYS, read_address(address))
            return session.get(Person, number) if number else None

    def subscribe(self, address: str = ADA) -> int:
        self.asked(address)
        assert self.confirm().stage is ConfirmationLinkState.CONFIRMED
        person = self.person(address)
        assert person is not None
        return person.number

    def leave(self, number: int) -> None:
        with self.database.write() as session:
            unsubscribe_person(session, self.unsubscribe_log, number, method="page", now=self.now)

    def suppress(self, reason: suppression.SuppressionReason, address: str = ADA) -> None:
        with self.database.write() as session:
            suppression.suppress_address(
                session,
                KEYS,
                read_address(address),
                reason=reason,
                actor="webhook",
                now=self.now,
                unsubscribe_log=self.unsubscribe_log,
            )

    def events(self, number: int) -> list[tuple[ConsentKind, dict[str, object]]]:
        with self.database.read() as session:
            query = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
            return [(e.kind, json.loads(e.body)) for e in session.scalars(query)]

    def count(self, table: type) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def suppressions(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(Suppression.reason).order_by(Suppression.id)))

    def sound(self) -> bool:
        with self.database.read() as session:
            return seals.verify_ledger(session, KEYS).sound

    def may_mail(self, number: int) -> bool:
        with self.database.read() as session:
            return audience.may_email_person(session, number)


@pytest.fixture
def unsubscribe_log(tmp_path: Path) -> UnsubscribeLog:
    return UnsubscribeLog(tmp_path / "left.log", KEYS)


@pytest.fixture
def house(database: Database, unsubscribe_log: UnsubscribeLog) -> House:
    database.row_keys.find = lambda: KEYS
    return House(database, unsubscribe_log)


def chosen(house: House, number: int) -> Preferences:
    with house.database.read() as session:
        return Preferences.from_json(session.get_one(Person, number).choices)


@pytest.mark.takes_turns
def test_a_consent_text_that_names_breaking_news_turns_it_on(house: House) -> None:
    assert chosen(house, house.subscribe("bo@example.org")) == Preferences()
    consent = ConsentSettings(text="Yes, email me {name} every Friday, and breaking news as it happens.")
    house.settings = Settings(file=SettingsFileContent(consent=consent))
    ada = house.subscribe()
    assert chosen(house, ada) == Preferences(breaking_news=True)
    kind, body = house.events(ada)[-1]
    assert (kind, body["method"]) == (ConsentKind.CHOICES_CHANGED, "double opt-in")
    assert house.kinds.count("welcome") == 2
    assert house.sound()


@pytest.mark.takes_turns
def test_agreeing_again_keeps_earlier_preferences(house: House) -> None:
    ada = house.subscribe()
    earlier = Preferences(text_only=True, omit=frozenset({"events"}))
    with house.database.write() as session:
        change_preferences(session, ada, earlier, house.now)
    house.leave(ada)
    house.settings = Settings(
        file=SettingsFileContent(consent=ConsentSettings(text="Email me {name} and breaking news."))
    )
    assert house.subscribe() == ada
    assert chosen(house, ada) == replace(earlier, breaking_news=True)


@pytest.mark.takes_turns
def test_breaking_news_ends_with_the_consent_that_included_it(house: House) -> None:
    consent = ConsentSettings(text="Email me {name} and breaking news.")
    house.settings = Settings(file=SettingsFileContent(consent=consent))
    ada = house.subscribe()
    assert chosen(house, ada).breaking_news
    house.leave(ada)
    house.settings = Settings()
    assert house.subscribe() == ada
    assert chosen(house, ada) == Preferences()
    assert house.sound()


def test_a_link_that_a_subscriber_confirms_late_keeps_breaking_news(house: House) -> None:
    house.asked()
    with house.database.write() as session:
        vouched = ConsentEvidence("Yes", "", "en", "Expo", "signed list", "staff 1", house.now)
        ada = manual_signup.add_subscriber(session, KEYS, ADA, evidence=vouched, now=house.now).number
        change_preferences(session, ada, Preferences(breaking_news=True), house.now)
    house.confirm()
    assert chosen(house, ada) == Preferences(breaking_news=True)


def test_a_form_is_written_encrypted_and_of_one_size(house: House) -> None:
    house.ask()
    house.ask("x@y.example", kind="lost link")
    house.ask(f"{'l' * 60}@{'d' * 60}.example", machine=RequestOrigin("2606:2800:220::1", "Agent" * 200))
    with house.database.read() as session:
        rows = list(session.scalars(select(SignupRequest).order_by(SignupRequest.id)))
    assert len({len(r.ciphertext) for r in rows if r.kind == "subscribe"}) <= 2  # the agent alone may add a step
    for row in rows:
        whole = repr(vars(row)).lower()
        for clear in ("lovelace", "analytical", "93.184", "browser"):
            assert clear not in whole


def test_a_form_opens_only_in_its_own_row(house: House) -> None:
    house.ask()
    house.ask("bo@example.org")
    with house.database.write() as session:
        first, second = session.scalars(select(SignupRequest).order_by(SignupRequest.id))
        first.ciphertext, second.ciphertext = second.ciphertext, first.ciphertext
    assert house.work() == {SignupReplyKind.NOTHING: 2}
    assert house.count(SignupRequest) == house.count(Person) == 0


def test_consent_event_token_and_queued_mail_commit_together(house: House) -> None:
    def broken(_session: Session, _note: MailRequest) -> None:
        raise RuntimeError("the disk is full")

    house.ask()
    house.queue = broken
    with pytest.raises(RuntimeError):
        house.work()
    assert house.count(SignupRequest) == 1
    assert [house.count(t) for t in (Person, ConsentEvent, OneTimeToken, SignupMail, RequestEvidence)] == [0] * 5
    house.queue = None
    assert house.work() == {SignupReplyKind.CONFIRM: 1}
    assert house.count(SignupRequest) == 0


def test_the_request_is_recorded_with_its_words_and_what_must_go_later_as_digests(house: House) -> None:
    house.asked()
    person = house.person()
    assert person is not None
    assert person.state is PersonState.REQUESTED
    assert not house.may_mail(person.number)
    ((kind, body),) = house.events(person.number)
    wording = build_consent_text(Settings())
    assert kind is ConsentKind.REQUESTED
    assert (body["wording"], body["wording_hash"], body["wording_version"], body["language"]) == (
        wording.text,
        wording.hash,
        "1",
        "en",
    )
    assert (body["page"], body["method"], body["asked_at"]) == (
        "https://hls.today/",
        "form",
        NOW.isoformat(timespec="milliseconds"),
    )
    assert "93.184" not in json.dumps(body)
    with house.database.read() as session:
        event = session.scalars(select(ConsentEvent)).one()
        row = session.scalars(select(RequestEvidence)).one()
        assert open_evidence(session, KEYS, event.id) == MACHINE
        digest = evidence.hash_request_origin(MACHINE, row.salt)
    assert {k: body[k] for k in digest} == digest


@pytest.mark.takes_turns
def test_confirming_puts_a_person_in_the_audience_with_a_receipt(house: House) -> None:
    house.asked()
    assert house.look().stage is ConfirmationLinkState.OPEN
    house.now += timedelta(days=2)
    link = house.confirm()
    assert (link.stage, link.new, link.address) == (ConfirmationLinkState.CONFIRMED, True, ADA)
    person = house.person()
    assert person is not None
    assert house.may_mail(person.number)
    (_, request), (kind, body) = house.events(person.number)
    assert kind is ConsentKind.CONFIRMED
    assert body["wording_hash"] == request["wording_hash"]
    assert body["network_digest"] != request["network_digest"]
    assert (person.asked_at, person.asked_where) == (NOW, "hls.today")
    welcome = house.notes[-1]
    assert (welcome.kind, welcome.serial) == ("welcome", "2")
    assert welcome.context["wording"] == request["wording"]
    assert house.sound()


@pytest.mark.takes_turns
def test_confirming_twice_is_once_on_any_device(house: House) -> None:
    house.subscribe()
    second = house.confirm()
    assert (second.stage, second.new) == (ConfirmationLinkState.CONFIRMED, False)
    assert house.kinds == ["confirm", "welcome"]
    assert house.count(ConsentEvent) == 2


@pytest.mark.takes_turns
def test_of_two_links_each_confirms_and_both_are_spent(house: House) -> None:
    house.asked()
    first = house.token
    assert house.asked(hours=2) == {SignupReplyKind.REMIND: 1}
    assert house.confirm(first).new
    assert not house.confirm().new
    assert house.look().stage is ConfirmationLinkState.CONFIRMED
    assert house.kinds == ["confirm", "remind", "welcome"]


@pytest.mark.takes_turns
def test_a_form_with_other_choices_is_a_request_of_its_own(house: House) -> None:
    own_choice = Preferences(omit_topics=frozenset({"public-health"}))
    house.asked()
    first = house.token
    assert house.asked(preferences=own_choice, minutes=1) == {SignupReplyKind.CONFIRM: 1}
    second = house.token
    assert house.asked(preferences=own_choice, hours=2) == {SignupReplyKind.REMIND: 1}
    assert house.asked(hours=2) == {SignupReplyKind.NOTHING: 1}, "one reminder in all"
    assert house.look(first).chosen is None
    assert house.look(second).chosen == house.look().chosen == own_choice
    assert house.confirm(second).new
    person = house.person()
    assert person is not None
    assert chosen(house, person.number) == own_choice
    assert {house.look(token).stage for token in (first, house.token)} == {ConfirmationLinkState.CONFIRMED}
    assert house.sound()


def test_a_form_with_another_consent_text_is_a_request_of_its_own(house: House) -> None:
    house.asked()
    consent = ConsentSettings(text="Email me {name} and breaking news.")
    house.settings = Settings(file=SettingsFileContent(consent=consent))
    assert house.asked(minutes=1) == {SignupReplyKind.CONFIRM: 1}
    assert house.look().wording == "Email me HLS.Today and breaking news."


@pytest.mark.takes_turns
def test_forms_that_differ_each_time_email_a_mailbox_within_its_limit(house: House) -> None:
    topics = [f"topic-{number}" for number in range(house.bounds.per_address_month + 3)]
    for topic in topics:
        house.asked(preferences=Preferences(omit_topics=frozenset({topic})), hours=1)
    assert house.kinds == ["confirm"] * house.bounds.per_address_month


@pytest.mark.takes_turns
def test_every_one_of_several_requests_that_nobody_confirms_runs_out(house: House) -> None:
    house.asked()
    house.asked(preferences=Preferences(omit_topics=frozenset({"public-health"})), days=1)
    person = house.person()
    assert person is not None
    house.now += timedelta(days=6)
    expiry.expire_unconfirmed_requests(house.database, now=house.now)
    assert house.person() is not None, "the second link is open"
    house.now += timedelta(days=1)
    expiry.expire_unconfirmed_requests(house.database, now=house.now)
    assert house.person() is None
    assert house.count(RequestEvidence) == 0


@pytest.mark.takes_turns
def test_a_spent_link_brings_nobody_back(house: House) -> None:
    number = house.subscribe()
    house.leave(number)
    assert house.confirm().stage is ConfirmationLinkState.USED
    assert not house.may_mail(number)


@pytest.mark.takes_turns
def test_a_link_that_ran_out_says_when_and_confirms_nothing(house: House) -> None:
    house.asked()
    house.now += timedelta(days=7)
    link = house.confirm()
    assert (link.stage, link.day, link.address) == (ConfirmationLinkState.EXPIRED, NOW + timedelta(days=7), "")
    assert house.kinds == ["confirm"]


@pytest.mark.takes_turns
def test_an_unknown_link_is_unknown_and_one_for_another_purpose_too(house: House) -> None:
    number = house.subscribe()
    with house.database.write() as session:
        erase = one_time_tokens.issue_token(session, "erase", number, now=NOW, expires_at=NOW + timedelta(days=1))
    assert house.look("A" * 22).stage is ConfirmationLinkState.UNKNOWN
    assert house.confirm(erase).stage is ConfirmationLinkState.UNKNOWN


def test_who_waits_gets_one_confirmation_and_one_reminder(house: House) -> None:
    for hours in (0, 0.1, 2, 3, 3):
        house.asked(hours=hours)
    assert house.kinds == ["confirm", "remind"]


@pytest.mark.takes_turns
def test_who_is_subscribed_is_told_so_once_a_week(house: House) -> None:
    number = house.subscribe()
    for days in (1, 1, 3, 4, 5):
        house.asked(days=days)
    assert house.kinds == ["confirm", "welcome", "known", "known"]
    assert [kind for kind, _ in house.events(number)] == [ConsentKind.REQUESTED, ConsentKind.CONFIRMED]


@pytest.mark.takes_turns
def test_a_lost_link_is_sent_to_subscribers_only(house: House) -> None:
    house.ask(kind="lost link")
    assert house.work() == {SignupReplyKind.NOTHING: 1}
    assert house.person() is None
    house.subscribe()
    house.ask(kind="lost link")
    assert house.work() == {SignupReplyKind.LINK: 1}


@pytest.mark.takes_turns
def test_who_left_stays_away_until_their_own_word_whatever_anybody_types(house: House) -> None:
    number = house.subscribe()
    house.leave(number)
    assert house.asked(days=1) == {SignupReplyKind.CONFIRM: 1}
    person = house.person()
    assert person is not None
    assert (person.number, person.state) == (number, PersonState.WITHDRAWN)
    evidence = ConsentEvidence("Yes.", "of the list", "en", "a list", "list", "eve", NOW)
    with pytest.raises(SignupRefusedError, match="its owner unsubscribed"), house.database.write() as session:
        manual_signup.add_subscriber(session, KEYS, ADA, evidence=evidence, now=house.now)
    assert house.confirm().new
    assert house.may_mail(number)
    assert house.sound()


def test_whose_address_the_vault_let_go_is_encrypted_again_only_while_they_are_asked(house: House) -> None:
    number = house.subscribe()
    house.leave(number)
    with house.database.write() as session:
        session.execute(update(Person).values(ciphertext=None, key_id=None, domain_tag=None))
    assert house.asked(days=40) == {SignupReplyKind.CONFIRM: 1}
    assert (person := house.person()) is not None
    assert person.ciphertext is not None
    house.now += timedelta(days=8)
    assert expiry.expire_unconfirmed_requests(house.database, now=house.now) == 1
    assert (person := house.person()) is not None
    assert (person.state, person.ciphertext, person.key_id) == (PersonState.WITHDRAWN, None, None)
    assert house.sound()


@pytest.mark.takes_turns
def test_who_bounced_comes_back_by_their_own_word_and_is_asked_once_in_30_days(house: House) -> None:
    number = house.subscribe()
    house.suppress("bounced")
    assert house.asked(days=31) == {SignupReplyKind.CONFIRM: 1}
    assert house.asked(hours=5) == {SignupReplyKind.NOTHING: 1}
    house.now += timedelta(days=8)
    expiry.expire_unconfirmed_requests(house.database, now=house.now)
    assert house.asked() == {SignupReplyKind.NOTHING: 1}
    assert house.asked(days=25) == {SignupReplyKind.CONFIRM: 1}
    assert not house.may_mail(number)
    assert house.confirm().new
    assert house.may_mail(number)
    assert house.suppressions() == ["bounced", "lifted"]
    assert house.sound()


@pytest.mark.parametrize("known", [True, False])
def test_who_was_erased_comes_back_as_somebody_new(house: House, known: bool) -> None:  # noqa: FBT001
    number = house.subscribe()
    if not known:  # erased after the vault had let the address go: the look-up alone bars the way
        house.leave(number)
        with house.database.write() as session:
            session.execute(update(Person).values(ciphertext=None, key_id=None))
    with house.database.write() as session:
        erasure.erase_person(
            session,
            KEYS,
            house.unsubscribe_log,
            number,
            method="page",
            forget_elsewhere=forget_nowhere_else,
            now=house.now,
        )
    assert house.asked(days=31) == {SignupReplyKind.CONFIRM: 1}
    assert house.suppressions() == ["erased"]
    person = house.person()
    assert person is not None
    assert person.number != number
    assert house.confirm().new
    assert house.suppressions() == ["erased", "lifted"]
    assert house.may_mail(person.number)
    assert not house.may_mail(number)
    assert house.sound()


@pytest.mark.takes_turns
@pytest.mark.parametrize("reason", ["complained", "by an admin"])
def test_who_complained_gets_nothing_until_an_admin_allows_it(
    house: House, reason: suppression.SuppressionReason
) -> None:
    house.subscribe()
    house.suppress(reason)
    assert house.asked(days=40) == {SignupReplyKind.NOTHING: 1}
    with house.database.write() as session:
        assert suppression.allow_suppressed_signup(session, KEYS, read_address(ADA), now=house.now)
        assert not suppression.allow_suppressed_signup(session, KEYS, read_address("nobody@example.org"), now=house.now)
    assert house.asked(days=1) == {SignupReplyKind.CONFIRM: 1}
    assert (person := house.person()) is not None
    assert not house.may_mail(person.number)
    assert house.confirm().new
    assert house.may_mail(person.number)


@pytest.mark.parametrize("reason", suppression.DEPARTURE_KINDS)
def test_adopted_suppressions_end_as_our_own_of_that_cause_do_and_once(
    house: House, reason: suppression.SuppressionReason
) -> None:
    context = ImportContext(house.database, KEYS, house.unsubscribe_log, "staff 1")
    adopt_suppressions(context, file_of(reason, read_address(ADA)), now=house.now)
    rows: list[str] = [reason]
    if reason in BLOCKING_REASONS:
        assert house.asked() == {SignupReplyKind.NOTHING: 1}
        with house.database.write() as session:
            assert suppression.allow_suppressed_signup(session, KEYS, read_address(ADA), now=house.now)
        rows.append(suppression.ALLOWED_AGAIN)
    assert house.asked() == {SignupReplyKind.CONFIRM: 1}
    assert house.asked(days=29) == {SignupReplyKind.NOTHING: 1}
    assert house.asked(days=2) == {SignupReplyKind.CONFIRM: 1}
    assert house.confirm().new
    adopt_suppressions(context, file_of(reason, read_address(ADA)), now=house.now)
    assert house.suppressions() == [*rows, suppression.LIFTED]
    assert (person := house.person()) is not None
    assert house.may_mail(person.number)
    assert house.sound()


@pytest.mark.takes_turns
def test_a_complaint_by_mail_ends_with_the_subscribers_own_new_sign_up_asked_once_in_30_days(house: House) -> None:
    """It can be forged by whoever was forwarded a mail: the reader needs no admin to come back."""
    house.subscribe()
    house.suppress("complaint by mail")
    assert house.asked(days=40) == {SignupReplyKind.CONFIRM: 1}
    assert house.asked(days=29) == {SignupReplyKind.NOTHING: 1}
    assert (person := house.person()) is not None
    assert not house.may_mail(person.number)
    assert house.asked(days=2) == {SignupReplyKind.CONFIRM: 1}
    assert house.confirm().new
    assert house.may_mail(person.number)
    assert house.sound()


@pytest.mark.takes_turns
def test_a_complaint_after_the_request_shuts_the_link(house: House) -> None:
    house.asked()
    house.suppress("complained")
    assert house.look().stage is ConfirmationLinkState.EXPIRED
    assert house.confirm().stage is ConfirmationLinkState.EXPIRED


def test_what_nobody_confirms_is_gone_after_seven_days(house: House) -> None:
    house.asked()
    house.asked(hours=3)
    number = (house.person() or Person()).number
    house.now = NOW + timedelta(days=7) - timedelta(seconds=1)
    assert expiry.expire_unconfirmed_requests(house.database, now=house.now) == 0
    house.now = NOW + timedelta(days=7)
    assert expiry.expire_unconfirmed_requests(house.database, now=house.now) == 2
    assert house.person() is None
    with house.database.read() as session:
        person = session.get(Person, number)
        assert person is not None
        assert (person.lookup, person.ciphertext, person.domain_tag) == (None, None, None)
    assert [kind for kind, _ in house.events(number)] == [ConsentKind.REQUESTED, ConsentKind.EXPIRED]
    assert house.count(RequestEvidence) == 0
    assert house.look().stage is ConfirmationLinkState.EXPIRED
    assert house.sound()
    assert expiry.expire_unconfirmed_requests(house.database, now=house.now) == 0
    assert house.asked() == {SignupReplyKind.CONFIRM: 1}


def test_traces_counts_and_old_forms_go_after_their_time(house: House) -> None:
    house.subscribe()
    house.ask("late@example.org")
    house.now += timedelta(days=1, seconds=1)
    assert house.work() == {SignupReplyKind.NOTHING: 1}  # a day too late: nobody is puzzled by mail
    house.now = NOW + timedelta(days=90)
    expiry.expire_unconfirmed_requests(house.database, now=house.now)
    assert [house.count(t) for t in (RequestEvidence, RateLimitCount, SignupMail, SignupRequest)] == [0] * 4
    assert house.sound()  # the digests stay, and prove what they are shown


@pytest.mark.takes_turns
def test_one_network_is_turned_away_and_others_are_not(house: House) -> None:
    house.bounds = SignupLimits(NetworkQuota(per_network=3, first=100, further=100))
    outcomes = [house.ask(f"r{n}@example.org") for n in range(5)]
    assert outcomes == [SubmissionOutcome.ACCEPTED] * 3 + [SubmissionOutcome.NETWORK_LIMIT_REACHED] * 2
    assert house.ask(machine=RequestOrigin("93.184.217.1", "")) is SubmissionOutcome.ACCEPTED
    assert house.ask(machine=RequestOrigin("127.0.0.1", "")) is SubmissionOutcome.ACCEPTED  # no network that we know
    house.now += timedelta(hours=1)
    assert house.ask() is SubmissionOutcome.ACCEPTED
    assert house.count(SignupRequest) == 6


@pytest.mark.takes_turns
def test_a_mailbox_that_confirms_nothing_gets_four_confirmations_in_30_days_however_it_is_spelled(house: House) -> None:
    for n in range(8):
        house.asked(f"Ada.Lovelace+{n}@analytical.example", minutes=1)
    assert house.kinds == ["confirm"] * 4
    assert house.asked(days=29) == {SignupReplyKind.NOTHING: 1}
    assert house.asked(days=1) == {SignupReplyKind.CONFIRM: 1}


def test_when_too_many_wait_the_door_is_shut(house: House) -> None:
    house.bounds = SignupLimits(max_pending=2)
    assert [house.ask(f"r{n}@example.org") for n in range(3)] == [
        SubmissionOutcome.ACCEPTED,
        SubmissionOutcome.ACCEPTED,
        SubmissionOutcome.TOTAL_LIMIT_REACHED,
    ]


def test_a_surge_raises_the_alarm_answers_what_is_taken_and_is_over_by_itself(house: House) -> None:
    house.bounds = SignupLimits(NetworkQuota(per_network=5, first=100, further=100), surge_per_hour=3)
    for n in range(7):
        house.ask(f"r{n}@example.org")
    assert house.work() == {SignupReplyKind.CONFIRM: 5}
    with house.database.read() as session:
        alarm = rate_limits.find_open_signup_surge(session)
        assert alarm is not None
        assert (alarm.at, alarm.detail) == (NOW, {"most": 5})
    house.now += timedelta(hours=1, minutes=1)
    assert house.work() == {}
    with house.database.read() as session:
        assert rate_limits.find_open_signup_surge(session) is None
    assert house.count(SignupSurge) == 1


@pytest.mark.takes_turns
def test_forms_are_answered_by_turns_of_their_networks(house: House) -> None:
    for n in range(3):
        house.ask(f"flood{n}@example.org")
    house.ask("quiet@example.com", machine=RequestOrigin("8.8.8.8", ""))
    house.work()
    with house.database.read() as session:
        asked = [people.decrypt_person_address(KEYS, session.get_one(Person, note.person)) for note in house.notes]
    assert [address.local for address in asked if address] == ["quiet", "flood0", "flood1", "flood2"]


def test_a_form_over_the_quota_waits_and_is_answered_as_it_was_sent(house: House) -> None:
    house.bounds = SignupLimits(NetworkQuota(per_network=30, first=60, further=60))
    for n in range(62):
        house.ask(f"flood{n}@flood{n}.example", machine=RequestOrigin(f"93.184.{n}.1", ""))
    house.work()
    house.work()
    assert house.count(SignupRequest) == 1
    asked_at = house.now
    house.ask(machine=RequestOrigin("93.184.216.34", "Browser/1"))
    assert house.work() == {}
    house.now += timedelta(minutes=2)
    assert house.work() == {SignupReplyKind.CONFIRM: 2}
    person = house.person()
    assert person is not None
    (_, body), *_ = house.events(person.number)
    assert body["asked_at"] == asked_at.isoformat(timespec="milliseconds")
    assert {"network_digest", "agent_digest", "wording_hash"} <= body.keys()
    with house.database.read() as session:
        event = session.scalars(select(ConsentEvent.id).where(ConsentEvent.person == person.number)).one()
        assert open_evidence(session, KEYS, event) == MACHINE


@pytest.mark.takes_turns
def test_a_form_that_waited_while_its_owner_left_brings_no_email(house: House) -> None:
    number = house.subscribe()
    house.notes.clear()
    house.now += timedelta(days=30)
    house.ask()
    house.now += timedelta(hours=1)
    house.leave(number)
    assert house.work() == {SignupReplyKind.NOTHING: 1}
    assert house.notes == []
    assert house.asked(minutes=1) == {SignupReplyKind.CONFIRM: 1}, "a form sent after leaving is their own new word"


def test_a_full_queue_drops_a_form_of_the_network_with_the_most(house: House) -> None:
    house.bounds = SignupLimits(max_pending=3)
    flood = [RequestOrigin(f"2a0e:b107:{n:x}::1", "") for n in range(5)]
    outcomes = [house.ask(f"victim@v{n}.example", machine=machine) for n, machine in enumerate(flood)]
    assert outcomes == [SubmissionOutcome.ACCEPTED] * 3 + [SubmissionOutcome.TOTAL_LIMIT_REACHED] * 2
    assert house.ask(machine=RequestOrigin("8.8.8.8", "")) is SubmissionOutcome.ACCEPTED
    assert house.count(SignupRequest) == 3
    assert house.work() == {SignupReplyKind.CONFIRM: 3}
    assert house.person() is not None
    assert house.person("victim@v2.example") is None, "the newest of the flood was dropped"


@pytest.mark.takes_turns
def test_workers_that_answer_at_once_share_one_quota_and_answer_each_form_once(house: House) -> None:
    house.bounds = SignupLimits(NetworkQuota(per_network=30, first=10, further=10))
    house.asked("first@first.example")
    for n in range(40):
        house.ask(f"reader@r{n}.example", machine=RequestOrigin(f"93.185.{n}.1", ""))
    threads = [threading.Thread(target=house.work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.work()
    answered = 1 + 1 + 10  # a first form of each wide network, and ten others
    assert house.count(SignupRequest) == 41 - answered
    assert len(house.notes) == house.count(Person) == answered


def test_a_worker_waits_for_another_ones_answer_before_it_spends_the_quota(
    postgresql: Database, unsubscribe_log: UnsubscribeLog
) -> None:
    house = House(postgresql, unsubscribe_log)
    quota = house.bounds.quota
    house.asked()
    house.ask("bo@example.org")
    house.ask("cy@example.org")
    with postgresql.read() as session:
        first, second = session.scalars(select(SignupRequest).order_by(SignupRequest.id))
    with postgresql.write() as answering, postgresql.engine.connect() as connection, Session(connection) as other:
        assert request_queue.claim_request(answering, first, quota, now=NOW)
        other.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout") as blocked:
            request_queue.claim_request(other, second, quota, now=NOW)
    assert "FOR UPDATE" in str(blocked.value.statement), "it waits before it reads, so no answer is counted twice"


def test_forms_of_earlier_hours_leave_no_counts_of_networks(house: House) -> None:
    for n in range(5):
        house.ask(f"reader@r{n}.example", machine=RequestOrigin(f"93.{n}.216.1", ""))
    house.work()
    before = house.count(RateLimitCount)
    house.asked(hours=2)
    assert house.count(RateLimitCount) < before


def test_neither_address_nor_machine_stands_in_any_table(house: House) -> None:
    house.asked()
    house.confirm()
    house.ask("second.reader@county.example")
    with house.database.engine.connect() as connection:
        names = [row[0] for row in connection.execute(text(_TABLES[connection.dialect.name]))]
        dump = "".join(repr(connection.execute(text(f'SELECT * FROM "{n}"')).all()) for n in names).lower()
    for clear in ("lovelace", "analytical", "second.subscriber", "county.example", "93.184", "browser/1"):
        assert clear not in dump


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}


def test_a_person_of_an_unfinished_import_is_asked_for_their_own_word(house: House) -> None:
    number = house.subscribe()
    with house.database.write() as session:
        batch = ImportBatch(origin="x", file_hash="y", options={}, actor="eve", started_at=NOW, counts={})
        session.add(batch)
        session.flush()
        session.execute(update(Person).values(batch=batch.id))
    assert not house.may_mail(number)
    house.now += timedelta(days=1)
    assert house.asked() == {SignupReplyKind.CONFIRM: 1}
    assert house.confirm().new
    assert house.may_mail(number)

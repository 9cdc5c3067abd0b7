"""Without an admin's decision, a restored copy doesn't send bulk email that may have been sent since the backup."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import select, update

from digest.app.approval import correction_emails
from digest.app.sending import background_tasks, uncertain_delivery_actions
from digest.app.upkeep import backups
from digest.backups import creation
from digest.deliver.plan import planning
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.deliver.providers.base import HandoverStatus
from digest.deliver.send.notices import notice_queue
from digest.deliver.send.run.edition_sending import run_edition
from digest.deliver.send.uncertain.uncertain_deliveries import NOTICES, UncertainResolution, list_uncertain_deliveries
from digest.installation import sending_pause
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.engine import open_database
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences
from subscribers.mail_requests import MailRequest
from tests.actors import ADMIN
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.row_keys import lend_row_keys

SUBSCRIBERS = [f"reader{n}@county.example" for n in range(6)]
HOUR = timedelta(hours=1)
ACCEPTED, UNCERTAIN, WAITING = DeliveryState.ACCEPTED, DeliveryState.UNCERTAIN, DeliveryState.WAITING


def send_edition(world: DeliverySetup, *, limit: int | None = None) -> list[str]:
    """Send what may be sent; return the deliveries that left."""
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    run_edition(
        world.database,
        EDITION_NAME,
        provider,
        KEYS,
        world.settings,
        clock=world.clock,
        sleep=world.clock.sleep,
        limit=limit,
    )
    return [message.delivery_id for message in provider.received_messages]


def counts(world: DeliverySetup) -> DeliveryCounts:
    with world.database.read() as session:
        counted = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
    assert counted.is_balanced
    return counted


def write_keys(world: DeliverySetup) -> None:
    world.settings.key_file.write_text(KEYS.to_json())
    world.settings.key_file.chmod(0o600)


Restore = Callable[[DeliverySetup, Callable[[DeliverySetup], object]], DeliverySetup]


@pytest.fixture
def restore(tmp_path: Path, request: pytest.FixtureRequest) -> Restore:
    """Return what backs a world up, lets something happen, and gives the world that was restored and released after it."""

    def restore_after(world: DeliverySetup, since_then: Callable[[DeliverySetup], object]) -> DeliverySetup:
        write_keys(world)
        url = world.database.engine.url.render_as_string(hide_password=False)
        settings = world.settings.model_copy(update={"database_url": url})
        creation.create_backup(world.database, tmp_path / "copy.zip", now=world.clock())
        since_then(world)
        world.database.close()
        backups.restore_backup(settings, ADMIN, tmp_path / "copy.zip", replace=True, now=world.clock())
        copy = lend_row_keys(open_database(url), settings.home)
        request.addfinalizer(copy.close)
        sending_pause.resume_all_sending(Installation(settings, copy), actor=ADMIN, now=world.clock())
        return DeliverySetup(copy, settings, KEYS, world.clock)

    return restore_after


def resolve(world: DeliverySetup, word: UncertainResolution, count: int) -> list[str]:
    ids = [d.delivery_id for d in list_uncertain_deliveries(world.database, EDITION_NAME, now=world.clock())][:count]
    installation = Installation(world.settings, world.database)
    uncertain_delivery_actions.resolve_uncertain(
        installation, EDITION_NAME, ids, word, reason="the log", actor=ADMIN, clock=world.clock
    )
    return ids


def send_the_rest(world: DeliverySetup) -> None:
    send_edition(world)
    world.clock.now += HOUR


@pytest.mark.takes_turns
def test_what_waited_in_the_copy_is_uncertain_and_goes_out_by_an_admins_word_alone(
    world: DeliverySetup, restore: Restore
) -> None:
    world.add_subscribers(*SUBSCRIBERS)
    send_edition(world, limit=2)
    copy = restore(world, send_the_rest)
    assert send_edition(copy) == []
    assert (counts(copy)[ACCEPTED], counts(copy)[UNCERTAIN]) == (2, 4)
    again = resolve(copy, UncertainResolution.SEND_AGAIN, 1)
    resolve(copy, UncertainResolution.ACCEPTED, 3)
    assert send_edition(copy) == again
    assert counts(copy)[ACCEPTED] == 6


def release_the_edition(world: DeliverySetup) -> list[str]:
    """Let its hour come, and send it; return the deliveries that left. An hour passes after that."""
    world.clock.now += HOUR
    left = send_edition(world)
    world.clock.now += HOUR
    return left


@pytest.mark.parametrize("set_back", [timedelta(), HOUR / 2, 3 * HOUR], ids=str)
def test_an_edition_that_was_not_even_planned_goes_to_nobody_by_itself_however_the_clock_is_set(
    world: DeliverySetup, restore: Restore, set_back: timedelta
) -> None:
    world.add_subscribers(*SUBSCRIBERS)
    world.clock.now -= HOUR
    gone: list[str] = []
    copy = restore(world, lambda original: gone.extend(release_the_edition(original)))
    copy.clock.now -= set_back
    assert send_edition(copy) == []
    assert counts(copy)[UNCERTAIN] == 6
    listed = list_uncertain_deliveries(copy.database, EDITION_NAME, now=copy.clock())
    assert {d.delivery_id for d in listed} == set(gone), "the ids are the same, so a log can settle it"
    again = resolve(copy, UncertainResolution.SEND_AGAIN, 2)
    assert sorted(send_edition(copy)) == sorted(again)


@pytest.mark.takes_turns
def test_a_plan_that_was_half_done_in_the_backup_is_uncertain_except_for_an_hour_to_come(
    world: DeliverySetup, restore: Restore
) -> None:
    world.add_subscribers(SUBSCRIBERS[0], choices=Preferences(hour=12, zone="America/New_York"))
    world.add_subscribers(SUBSCRIBERS[1])
    with patch.object(planning, "_close_plan", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        send_edition(world)
    world.add_subscribers(SUBSCRIBERS[2])
    world.add_subscribers(SUBSCRIBERS[3], choices=Preferences(pause_until=date(2027, 1, 1)))
    copy = restore(world, send_the_rest)
    copy.clock.now -= 2 * HOUR
    assert send_edition(copy) == []
    counted = counts(copy)
    assert (counted[UNCERTAIN], counted[WAITING], counted[DeliveryState.SKIPPED]) == (2, 1, 1)
    copy.clock.now += 7 * HOUR
    assert len(send_edition(copy)) == 1


def test_what_is_sent_again_waits_for_the_hour_that_its_subscriber_chose(
    world: DeliverySetup, restore: Restore
) -> None:
    world.add_subscribers(SUBSCRIBERS[0])
    world.add_subscribers(SUBSCRIBERS[1], choices=Preferences(hour=12, zone="America/New_York"))
    world.clock.now -= HOUR
    copy = restore(world, release_the_edition)
    send_edition(copy)
    resolve(copy, UncertainResolution.SEND_AGAIN, 2)
    assert len(send_edition(copy)) == 1
    copy.clock.now += 5 * HOUR
    assert len(send_edition(copy)) == 1


@pytest.mark.takes_turns
def test_whose_hour_is_still_to_come_gets_it_at_that_hour(world: DeliverySetup, restore: Restore) -> None:
    world.add_subscribers(*SUBSCRIBERS[:2])
    world.add_subscribers(SUBSCRIBERS[2], choices=Preferences(hour=12, zone="America/New_York"))
    send_edition(world, limit=1)
    copy = restore(world, send_the_rest)
    assert (counts(copy)[UNCERTAIN], counts(copy)[WAITING]) == (1, 1)
    copy.clock.now += 5 * HOUR
    assert len(send_edition(copy)) == 1


def test_what_was_in_doubt_already_stays_so_and_may_have_been_sent_again_since(
    world: DeliverySetup, restore: Restore
) -> None:
    world.add_subscribers(*SUBSCRIBERS[:3])
    send_edition(world)
    states = (DeliveryState.HANDING_OVER, UNCERTAIN)
    with world.database.write() as session:
        for delivery, state in zip(session.scalars(select(Delivery)).all(), states, strict=False):
            delivery.state, delivery.owner, delivery.lease_until = state, "a process", world.clock() + 9 * HOUR
        session.execute(update(Edition).values(state=EditionState.SENDING))
    copy = restore(world, send_the_rest)
    assert (counts(copy)[ACCEPTED], counts(copy)[UNCERTAIN]) == (1, 2)
    with copy.database.read() as session:
        doubtful = select(Delivery.lease_until).where(Delivery.state == UNCERTAIN)
        assert set(session.scalars(doubtful)) == {copy.clock()}


@pytest.mark.takes_turns
def test_an_edition_that_is_released_after_the_restore_goes_out_as_ever(world: DeliverySetup, restore: Restore) -> None:
    world.add_subscribers(*SUBSCRIBERS)
    world.clock.now -= 3 * HOUR
    copy = restore(world, lambda _original: None)
    copy.clock.now += 3 * HOUR
    assert len(send_edition(copy)) == 6


DANA = Actor("staff 1", Role.EDITOR, ActionEntryPoint.DESK)


def correct_edition(world: DeliverySetup) -> None:
    """Send the edition, and correct it; the only editor may approve the email alone."""
    write_keys(world)
    world.add_subscribers(*SUBSCRIBERS)
    send_edition(world)
    times = {"added_at": world.clock(), "proven_at": world.clock()}
    texts = {"headline": "Maps", "was": "41,000", "becomes": "4,100", "note": "Ten times too many."}
    with world.database.write() as session:
        session.add(StaffMember(email="dana@news.example.org", role="editor", added_by="t", **times))
        edition = session.scalars(select(Edition)).one()
        of_story = {"url": "https://fema.example/", "section": "featured", "field": "headline", "is_carried": False}
        made = {"edition_id": edition.id, "seq": 1, "at": world.clock(), "actor": DANA.name, "signed": "Dana"}
        session.add(Correction(**made, **of_story, **texts))


def installation_of(world: DeliverySetup) -> Installation:
    return Installation(world.settings, world.database)


def approve_correction(world: DeliverySetup) -> None:
    """Request the correction's email, and approve it."""
    installation = installation_of(world)
    email = correction_emails.read_correction_email(installation, EDITION_NAME, 1)
    mark, now = email.content_hash, world.clock()
    correction_emails.approve_correction_email(installation, EDITION_NAME, 1, mark, actor=DANA, now=now)


def mail_correction(world: DeliverySetup) -> int:
    """Queue the approved correction and hand over what is due; return how many files are in the outbox after that."""
    installation = installation_of(world)
    correction_emails.queue_approved_correction_emails(installation, clock=world.clock)
    background_tasks.send_due_corrections(installation, clock=world.clock, sleep=world.clock.sleep)
    return count_mailed(world)


def count_mailed(world: DeliverySetup) -> int:
    return len(list((world.settings.outbox_folder / "notice").glob("*.eml")))


def empty_outbox(world: DeliverySetup) -> None:
    for file in (world.settings.outbox_folder / "notice").glob("*.eml"):
        file.unlink()


def mail_correction_and_lose_it(world: DeliverySetup) -> None:
    assert mail_correction(world) == len(SUBSCRIBERS)
    empty_outbox(world)
    world.clock.now += HOUR


def approve_and_mail(world: DeliverySetup) -> None:
    approve_correction(world)
    mail_correction_and_lose_it(world)


def uncertain_corrections(world: DeliverySetup) -> list[str]:
    listed = list_uncertain_deliveries(world.database, NOTICES, now=world.clock())
    return [delivery.delivery_id for delivery in listed if delivery.kind == "correction"]


def resolve_corrections(world: DeliverySetup, ids: list[str], word: UncertainResolution) -> int:
    installation, clock = installation_of(world), world.clock
    return uncertain_delivery_actions.resolve_uncertain(
        installation, NOTICES, ids, word, reason="the log", actor=ADMIN, clock=clock
    )


def queue_correction(world: DeliverySetup) -> None:
    correction_emails.queue_approved_correction_emails(installation_of(world), clock=world.clock)


STEPS_BEFORE_BACKUP: dict[str, list[Callable[[DeliverySetup], object]]] = {
    "made": [],
    "approved": [approve_correction],
    "queued": [approve_correction, queue_correction],
}


@pytest.mark.parametrize("step", STEPS_BEFORE_BACKUP)
def test_a_correction_from_before_the_backup_goes_out_again_by_an_admins_word_alone(
    world: DeliverySetup, restore: Restore, step: str
) -> None:
    correct_edition(world)
    for act in STEPS_BEFORE_BACKUP[step]:
        act(world)
    copy = restore(world, mail_correction_and_lose_it if STEPS_BEFORE_BACKUP[step] else approve_and_mail)
    if step == "made":  # requested and approved anew: the copy doesn't know of the first time
        approve_correction(copy)
    assert mail_correction(copy) == 0, "everyone may have it"
    uncertain = uncertain_corrections(copy)
    assert len(uncertain) == len(SUBSCRIBERS)
    assert resolve_corrections(copy, uncertain[:2], UncertainResolution.SEND_AGAIN) == 2
    assert resolve_corrections(copy, uncertain[2:4], UncertainResolution.ACCEPTED) == 2
    assert resolve_corrections(copy, uncertain[4:], UncertainResolution.LOST) == 2
    assert mail_correction(copy) == 2
    assert uncertain_corrections(copy) == []


def test_a_correction_from_after_the_restore_goes_out_as_ever(world: DeliverySetup, restore: Restore) -> None:
    copy = restore(world, lambda _original: None)
    copy.clock.now += HOUR
    correct_edition(copy)
    approve_correction(copy)
    assert mail_correction(copy) == len(SUBSCRIBERS)


@pytest.mark.takes_turns
def test_questions_to_many_are_uncertain_too_and_a_link_that_someone_waits_for_is_not(
    world: DeliverySetup, restore: Restore
) -> None:
    people = world.add_subscribers(*SUBSCRIBERS[:3])
    kinds = ("ask", "stay", "known")
    requests = [MailRequest(kind, person, "1", {}) for kind, person in zip(kinds, people, strict=True)]  # type: ignore[arg-type]
    rows = notice_queue.prepare_notices(KEYS, world.settings, requests, world.clock())
    with world.database.write() as session:
        notice_queue.insert_notices(session, rows)
    copy = restore(world, lambda _original: None)
    with copy.database.read() as session:
        states = {row.purpose: row.state for row in session.scalars(select(Delivery))}
    assert states == {"ask:1": UNCERTAIN, "stay:1": UNCERTAIN, "known:1": WAITING}

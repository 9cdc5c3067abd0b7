"""Breaking news is an extra edition of chosen stories that someone sends now, without affecting the regular edition."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app import jobs
from digest.app.approval import edition_approval, final_check
from digest.app.editing import changes as editing
from digest.app.editing import edit_history
from digest.app.editing.breaking_news_drafts import draft_breaking_news, list_coming_breaking_news
from digest.app.editing.edit_application import ApprovedEditionError, EditForm
from digest.app.editing.editing_state import EditRefusedError, read_editing_state
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import breaking_news
from digest.app.sending import send_control as sending
from digest.app.sending.breaking_news import SendNowError
from digest.app.site.archive import read_archive_page
from digest.app.subscribers.subscriber_views import count_edition_recipients, get_or_count
from digest.catalogs import load_language
from digest.deliver.control.article_recheck_results import ArticleCheck, save_article_check
from digest.deliver.plan import canary, planning
from digest.deliver.retention.delivery_disclosures import list_delivery_disclosures
from digest.deliver.send.run.edition_sending import SendError, SendReport
from digest.edition import edition_queries
from digest.edition.approval.approved_versions import ApprovalError, revoke_all_approvals
from digest.edition.content.edition_content import EditionContent, LabeledBlock
from digest.edition.drafting.composition import compose_stored_draft, matches_composition
from digest.edition.editing.edits import EditionField
from digest.installation.audited_actions import Actor
from digest.installation.opened_installation import Installation
from digest.store.audit import SETTINGS_CHANGED
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Article, AuditEntry, Edition, EditionState
from scheduler import EditionSendBackoff, send_due_editions
from subscribers.consent.breaking_news import BreakingNewsAudience
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.signup.manual_signup import ConsentEvidence
from tests.actors import ADMIN
from tests.app.approval.test_approvals import DANA, LATER, PRIYA, SAM, approve, install, install_on_both
from tests.app.editing.test_changes import TITLES, url_of
from tests.app.test_four_eyes import log_change
from tests.deliver.many_subscribers import add_many_subscribers
from tests.edition.drafting.test_drafts import add, bodies, drafted
from tests.moments import DRAFTING, RELEASE
from tests.sent_emails import read_folder

__all__ = ["install", "install_on_both"]

CHOSEN = Preferences(breaking_news=True)
TODAY = LATER.date()
# Each is one subscriber, and whether breaking news is for them.
LIST: tuple[tuple[Preferences, bool], ...] = (
    (CHOSEN, True),
    (Preferences(breaking_news=True, frequency="monthly", zone="UTC", hour=3), True),
    (Preferences(breaking_news=True, omit=frozenset({"featured", "topics", "events"})), True),
    (Preferences(breaking_news=True, short=True), True),
    (Preferences(breaking_news=True, text_only=True, omit_topics=frozenset({"public-health"})), True),
    (Preferences(), False),
    (Preferences(breaking_news=True, pause_until=TODAY + timedelta(days=90)), False),
)
ALL_PREFERENCES = tuple(preferences for preferences, _ in LIST)


def add_list(install: Installation, chosen: Sequence[Preferences] = ALL_PREFERENCES) -> list[int]:
    """Put people with these preferences on the list; return their numbers."""
    evidence = ConsentEvidence(
        wording="Yes.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="form",
        actor="test",
        agreed_at=DRAFTING - timedelta(days=100),
    )
    addresses = [f"reader{number}@example.org" for number in range(len(chosen))]
    with install.database.write() as session:
        numbers = add_many_subscribers(session, install.keys, addresses, evidence=evidence, now=DRAFTING)
        for number, preferences in zip(numbers, chosen, strict=True):
            change_preferences(session, number, preferences, DRAFTING)
    return numbers


def draft(install: Installation, *titles: str) -> str:
    urls = [url_of(title) for title in titles or TITLES[1:2]]
    return draft_breaking_news(install, urls, actor=DANA, now=LATER)


def approve_news(install: Installation, name: str, actor: object = PRIYA, at: object = LATER) -> None:
    mark = read_edition_status(install, name, now=at).content_hash  # type: ignore[arg-type]
    edition_approval.approve_edition(install, name, mark, actor=actor, now=at)  # type: ignore[arg-type]


def edition(install: Installation, name: str) -> Edition:
    with install.database.read() as session:
        return session.scalars(select(Edition).where(Edition.name == name)).one()


def ready(install: Installation) -> tuple[str, ...]:
    return sending.find_pending_sends(install, now=LATER).ready_to_send


def with_settings(install: Installation, table: str, **values: object) -> Installation:
    """Give the same installation with other settings in one of their tables."""
    changed = getattr(install.settings.file, table).model_copy(update=values)
    file = install.settings.file.model_copy(update={table: changed})
    return Installation(install.settings.model_copy(update={"file": file}), install.database)


def without_final_check(install: Installation) -> Installation:
    return with_settings(install, "schedule", final_check_minutes=0)


def turned_off(install: Installation) -> Installation:
    return with_settings(install, "preferences", breaking_news="off")


def send(install: Installation, name: str) -> SendReport:
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    return sending.send_edition(install, name, actor=ADMIN, clock=lambda: LATER)


@pytest.mark.takes_turns
def test_named_stories_are_drafted_in_their_order_and_whoever_named_them_cannot_approve_them(
    install_on_both: Installation,
) -> None:
    name = draft(install_on_both, TITLES[3], TITLES[1])
    row = edition(install_on_both, name)
    assert (row.name, row.number, row.state) == ("2026-W47-2", 0, EditionState.DRAFT)
    content = EditionContent.from_json(row.content)
    assert [entry.headline for section in content.sections for entry in section.entries] == [TITLES[3], TITLES[1]]
    with pytest.raises(ApprovalError, match="You wrote"):
        approve_news(install_on_both, name, DANA)
    approve_news(install_on_both, name)
    assert edition(install_on_both, name).state == EditionState.APPROVED
    assert list_coming_breaking_news(install_on_both)[0].name == name


@pytest.mark.takes_turns
def test_news_of_the_last_hour_is_approved_as_it_was_drafted(install_on_both: Installation) -> None:
    hour_ago = LATER - timedelta(hours=1)
    add(install_on_both.database, "Levee breaks at Cairo", dated=hour_ago, found=hour_ago)
    name = draft(install_on_both, "Levee breaks at Cairo")
    row = edition(install_on_both, name)
    with install_on_both.database.read() as session:
        assert matches_composition(session, row, compose_stored_draft(session, row, install_on_both.settings))
    approve_news(install_on_both, name)
    assert edition(install_on_both, name).state == EditionState.APPROVED


def test_one_story_is_enough_however_many_a_regular_edition_needs(install: Installation) -> None:
    demanding = with_settings(install, "select", minimum=20)
    name = draft(demanding)
    assert edition(demanding, name).state == EditionState.DRAFT
    url = url_of(TITLES[1])
    editing.drop_stories(demanding, EditForm(name, DANA, LATER), url)
    assert edition(demanding, name).state == EditionState.INCOMPLETE


@pytest.mark.takes_turns
def test_it_waits_for_someones_word_and_goes_then(install_on_both: Installation) -> None:
    install = without_final_check(install_on_both)
    add_list(install)
    name = draft(install)
    approve_news(install, name)
    assert ready(install) == ()
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    breaking_news.request_send_now(install, name, actor=DANA, now=LATER)
    assert ready(install) == (name,)
    with install.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "send now")).all()
    assert [(row.actor, row.subject, row.detail) for row in rows] == [(SAM.name, name, {"recipients": 5})]


def test_the_last_check_comes_before_it(install: Installation) -> None:
    add_list(install)
    name = draft(install)
    approve_news(install, name)
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    assert install.settings.file.schedule.final_check_minutes
    assert ready(install) == ()


@pytest.mark.takes_turns
@pytest.mark.parametrize("minutes_before", [0, 1])
def test_a_check_from_before_someone_chose_to_send_it_is_not_the_last(
    install_on_both: Installation, minutes_before: int
) -> None:
    add_list(install_on_both)
    name = draft(install_on_both)
    approve_news(install_on_both, name)
    looked_at = LATER - timedelta(minutes=minutes_before)
    with install_on_both.database.write() as session:
        check = ArticleCheck(looked_at, edition(install_on_both, name).approved_at, checked_count=1)
        save_article_check(session, name, check)
    breaking_news.request_send_now(install_on_both, name, actor=SAM, now=LATER)
    is_too_old = minutes_before > 0
    assert (name in final_check.find_due_checks(install_on_both, now=LATER)) is is_too_old
    assert (name in ready(install_on_both)) is not is_too_old


@pytest.mark.takes_turns
def test_it_goes_at_once_to_those_who_get_breaking_news_and_to_no_one_else(install_on_both: Installation) -> None:
    numbers = add_list(install_on_both)
    name = draft(install_on_both)
    approve_news(install_on_both, name)
    view = breaking_news.view_send_now(install_on_both, name, now=LATER)
    assert view.audience == BreakingNewsAudience(recipients=5, not_chosen=1, paused=1)
    assert (view.obstacle, view.canary) == (None, 0)
    planning.plan_deliveries(install_on_both.database, name, install_on_both.keys, install_on_both.settings, now=LATER)
    with install_on_both.database.read() as session:
        rows = {row.person: row for row in session.scalars(select(Delivery))}
    chosen = {number: is_sent for number, (each, is_sent) in zip(numbers, LIST, strict=True) if each.breaking_news}
    assert {number: row.state is DeliveryState.WAITING for number, row in rows.items()} == chosen
    assert {row.due_at for row in rows.values()} == {LATER}
    report = send(install_on_both, name)
    assert (report.state, report.handed_over) == (EditionState.SENT, 5)
    emails = read_folder(install_on_both.settings.outbox_folder / "edition")
    parts = [str(part.get_content()) for email in emails for part in email.walk() if not part.is_multipart()]
    assert len(parts) == 2 * len(emails) - 1, "one is text alone"
    for part in parts:
        assert "/breaking-news" in part
        assert "No. 0" not in part
    assert sum("Breaking news. " in part for part in parts) == len(emails), (
        "the first line of each text says what it is"
    )


def test_the_regular_edition_is_as_if_there_were_none(install_on_both: Installation) -> None:
    numbers = add_list(install_on_both)
    before, number = bodies(install_on_both.database), edition(install_on_both, "2026-W47").number
    name = draft(install_on_both)
    approve_news(install_on_both, name)
    send(install_on_both, name)
    drafted(install_on_both, LATER)
    assert bodies(install_on_both.database)[: len(before)] == before
    with install_on_both.database.read() as session:
        assert edition_queries.next_edition_number(session, 1) == number
        assert edition_queries.next_edition_number(session, 147) == 147
        assert edition_queries.find_edition(session, "current").name == "2026-W47"
        assert edition_queries.find_last_cut_off(session, RELEASE) is None
    approve(install_on_both, PRIYA)
    # A subscriber of the first edition of each month got breaking news, and gets this one all the same.
    counts = planning.plan_deliveries(
        install_on_both.database, "2026-W47", install_on_both.keys, install_on_both.settings, now=RELEASE
    )
    assert counts[DeliveryState.SKIPPED] == 2
    with install_on_both.database.read() as session:
        monthly = select(Delivery.state).where(Delivery.purpose == "edition:2026-W47", Delivery.person == numbers[1])
        assert session.scalar(monthly) is DeliveryState.WAITING
    assert read_archive_page(install_on_both, before=None).editions == ()


@pytest.mark.takes_turns
def test_a_draft_of_it_is_no_regular_edition_and_holds_up_no_approval(install_on_both: Installation) -> None:
    late = RELEASE + timedelta(minutes=1)
    add(install_on_both.database, "Levee breaks at Cairo", dated=RELEASE, found=RELEASE)
    name = draft_breaking_news(install_on_both, [url_of("Levee breaks at Cairo")], actor=DANA, now=late)
    approve(install_on_both, PRIYA)
    assert edition(install_on_both, "2026-W47").state == EditionState.APPROVED
    following = drafted(install_on_both, late)
    assert (following.name, edition(install_on_both, name).state) == ("2026-W48", EditionState.DRAFT)
    content = EditionContent.from_json(following.content)
    assert [entry.headline for section in content.sections for entry in section.entries] == ["Levee breaks at Cairo"]


@pytest.mark.takes_turns
def test_what_it_does_not_show_is_not_published_by_it(install_on_both: Installation) -> None:
    change = {"before": {"intro": ""}, "after": {"intro": "Log in at evil.example"}}
    log_change(install_on_both, SETTINGS_CHANGED, "publication", change)
    approve_news(install_on_both, draft(install_on_both))
    with pytest.raises(ApprovalError, match="You wrote"):
        approve(install_on_both, DANA)
    approve(install_on_both, PRIYA)


def pause(install: Installation, name: str) -> None:
    sending.pause_edition(install, name, reason="The mayor denies it", actor=DANA, now=LATER)


def revoke(install: Installation, name: str) -> None:
    with install.database.write() as session:
        revoke_all_approvals(session, edition_queries.find_edition(session, name), actor=DANA.name, now=LATER)


@pytest.mark.parametrize(
    ("hinder", "why"),
    [
        (pause, "is paused: The mayor denies it"),
        (revoke, "is a draft. It can be sent once it's approved"),
        (lambda install, _: install.settings, "No subscribers get breaking news"),
    ],
)
def test_what_cannot_be_sent_says_why(install: Installation, hinder: Callable[..., object], why: str) -> None:
    if "No subscribers" not in why:
        add_list(install)
    name = draft(install)
    approve_news(install, name)
    hinder(install, name)
    with pytest.raises(SendNowError, match=why):
        breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    assert edition(install, name).send_requested_at is None


def test_neither_a_regular_edition_nor_stale_news_is_sent_now(install: Installation) -> None:
    add_list(install)
    approve(install, PRIYA)
    with pytest.raises(SendNowError, match="is a regular edition"):
        breaking_news.request_send_now(install, "2026-W47", actor=SAM, now=LATER)
    name = draft(install)
    approve_news(install, name)
    with pytest.raises(SendNowError, match="approved more than a day ago"):
        breaking_news.request_send_now(install, name, actor=SAM, now=LATER + timedelta(days=1, minutes=1))


def test_an_edit_asks_first_and_takes_the_order_back_for_good(install_on_both: Installation) -> None:
    install = without_final_check(install_on_both)
    add_list(install)
    name = draft(install)
    approve_news(install, name)
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    form = EditForm(name, DANA, LATER)
    with pytest.raises(ApprovedEditionError):
        editing.set_edition_text(install, form, EditionField.SUBJECT, "Breaking: a hurricane turns")
    assert ready(install) == (name,)
    agreed = replace(form, supersedes=read_editing_state(install, name).approval)
    editing.set_edition_text(install, agreed, EditionField.SUBJECT, "Breaking: a hurricane turns")
    assert edition(install, name).send_requested_at is None
    # The undo reinstates the approval, but no one has chosen to send it since.
    edit_history.undo_own_last_edit(install, form)
    assert edition(install, name).state == EditionState.APPROVED
    assert ready(install) == ()
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    assert ready(install) == (name,)


@pytest.mark.takes_turns
def test_while_it_is_turned_off_no_one_gets_it(install_on_both: Installation) -> None:
    add_list(install_on_both)
    name = draft(install_on_both)
    approve_news(install_on_both, name)
    off = without_final_check(turned_off(install_on_both))
    view = breaking_news.view_send_now(off, name, now=LATER)
    assert view.obstacle == ("Breaking news is turned off.", "An admin can offer it under Settings → Preferences.")
    counted = count_edition_recipients(off, edition(off, name), now=LATER)
    assert view.audience.recipients == counted.recipients == 0
    sentence = sending.describe_upcoming_send(off, read_edition_status(off, name, now=LATER), now=LATER)
    assert "to 0 subscribers" in sentence
    with pytest.raises(SendNowError, match="turned off"):
        breaking_news.request_send_now(off, name, actor=SAM, now=LATER)
    # Turned off after someone chose to send it, and after its deliveries were planned.
    breaking_news.request_send_now(install_on_both, name, actor=SAM, now=LATER)
    assert ready(off) == ()
    with pytest.raises(SendError, match="turned off"):
        sending.send_edition(off, name, actor=ADMIN, clock=lambda: LATER)
    counts = planning.plan_deliveries(off.database, name, off.keys, off.settings, now=LATER)
    assert counts.planned == counts[DeliveryState.SKIPPED] == sum(each.breaking_news for each, _ in LIST)


DAY = timedelta(days=1)


def tick(install: Installation, now: datetime) -> Edition:
    """Let the scheduler look once; return the row of the breaking news."""
    context = jobs.JobContext(install, stopping=threading.Event(), clock=lambda: now)
    send_due_editions(context, EditionSendBackoff())
    return edition(install, "2026-W47-2")


def test_turned_off_on_its_way_it_waits_for_a_person_and_says_so(install_on_both: Installation) -> None:
    add_list(install_on_both)
    install = without_final_check(install_on_both)
    name = draft(install)
    approve_news(install, name)
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    with install.database.write() as session:
        edition_queries.find_edition(session, name).state = EditionState.SENDING
    row = tick(turned_off(install), LATER)
    assert row.paused_because == "Breaking news is turned off in the settings"
    assert "turned off" in sending.explain_paused_edition(install, name)
    # Offered again weeks later, it's old news.
    row = tick(install, LATER + 21 * DAY)
    assert (row.state, row.planned_at) == (EditionState.SENDING, None)
    sending.resume_edition(install, name, actor=SAM, now=LATER + 21 * DAY)
    assert tick(install, LATER + 22 * DAY).state is EditionState.SENT


@pytest.mark.takes_turns
def test_a_day_after_someone_chose_to_send_it_only_a_person_continues(install_on_both: Installation) -> None:
    add_list(install_on_both)
    install = without_final_check(install_on_both)
    name = draft(install)
    approve_news(install, name)
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    with install.database.write() as session:
        edition_queries.find_edition(session, name).state = EditionState.SENDING
    row = tick(install, LATER + DAY + timedelta(seconds=1))
    assert (row.planned_at, row.paused_because) == (None, "Someone chose to send it more than a day ago")
    sending.resume_edition(install, name, actor=SAM, now=LATER + 2 * DAY)
    assert tick(install, LATER + 2 * DAY).state is EditionState.SENT


@pytest.mark.takes_turns
def test_the_pages_count_as_the_plan_does(install_on_both: Installation) -> None:
    add_list(install_on_both)
    name = draft(install_on_both)
    counts = count_edition_recipients(install_on_both, edition(install_on_both, name), now=LATER)
    assert (counts.recipients, counts.paused, counts.skipped) == (5, 1, 1)


@pytest.mark.takes_turns
def test_a_slow_count_is_shown_while_it_is_counted_again(install_on_both: Installation) -> None:
    # Counting takes 2 seconds, so it would be kept for minutes; the fourth page comes too late for the second count.
    times = iter([0.0, 0.0, 2.0, 9.0, 11.0, 12.0, 14.0, 20.0, 83.0, 90.0, 92.0])
    results, may_count = iter([1, 2, 3]), threading.Event()

    def count_now(_: Session) -> int:
        may_count.wait()
        return next(results)

    def count() -> int:
        return get_or_count(install_on_both.database, "test", count_now, lambda: next(times), keep_for=10)

    may_count.set()
    assert [count(), count()] == [1, 1]
    may_count.clear()
    assert count() == 1
    recounts = [thread for thread in threading.enumerate() if thread.name == "recount"]
    may_count.set()
    for thread in recounts:
        thread.join()
    assert [count(), count()] == [2, 3]


def test_nothing_sends_it_before_someone_chooses_to(install: Installation) -> None:
    add_list(install)
    name = draft(install)
    approve_news(install, name)
    with pytest.raises(SendError, match="no one has chosen to send it"):
        sending.send_edition(install, name, actor=ADMIN, clock=lambda: LATER)


@pytest.mark.takes_turns
def test_the_same_stories_are_drafted_once(install_on_both: Installation) -> None:
    barrier = Barrier(4)

    def press(actor: Actor) -> str:
        barrier.wait()
        return draft_breaking_news(install_on_both, [url_of(t) for t in TITLES[:2]], actor=actor, now=LATER)

    with ThreadPoolExecutor(4) as editors:
        assert set(editors.map(press, (DANA, DANA, SAM, PRIYA))) == {"2026-W47-2"}
    assert [row.name for row in list_coming_breaking_news(install_on_both)] == ["2026-W47-2"]
    with install_on_both.database.read() as session:
        assert len(session.scalars(select(AuditEntry).where(AuditEntry.act == "breaking news drafted")).all()) == 1
    assert draft(install_on_both, TITLES[0]) == "2026-W47-3"


def test_the_same_stories_are_sent_once(install_on_both: Installation) -> None:
    install = without_final_check(install_on_both)
    add_list(install)
    names = draft(install, TITLES[0], TITLES[1]), draft(install, TITLES[0])
    editing.drop_stories(install, EditForm(names[0], DANA, LATER), url_of(TITLES[1]))
    for name in names:
        approve_news(install, name)
    barrier = Barrier(len(names))

    def press(name: str) -> str:
        barrier.wait()
        try:
            breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
        except SendNowError as exc:
            return exc.message
        return ""

    with ThreadPoolExecutor(len(names)) as editors:
        refusals = list(editors.map(press, names))
    (sent,) = ready(install)
    assert sorted(refusals) == ["", f"Breaking news {sent} had the same stories."]
    # Once it's canceled, the other may be sent in its place.
    sending.cancel_edition(install, sent, actor=ADMIN, now=LATER)
    (other,) = {*names} - {sent}
    breaking_news.request_send_now(install, other, actor=SAM, now=LATER)
    assert ready(install) == (other,)


def test_what_some_subscribers_got_before_it_was_canceled_is_not_sent_again(install: Installation) -> None:
    numbers = add_list(install)
    names = draft(install, TITLES[0], TITLES[1]), draft(install, TITLES[0])
    for name in names:
        approve_news(install, name)
    breaking_news.request_send_now(install, names[0], actor=SAM, now=LATER)
    planning.plan_deliveries(install.database, names[0], install.keys, install.settings, now=LATER)
    with install.database.write() as session:
        session.scalars(select(Delivery).where(Delivery.person == numbers[0])).one().state = DeliveryState.ACCEPTED
    sending.cancel_edition(install, names[0], actor=ADMIN, now=LATER)
    with pytest.raises(SendNowError, match=f"Breaking news {names[0]} had the same stories"):
        breaking_news.request_send_now(install, names[1], actor=SAM, now=LATER)


@pytest.mark.takes_turns
def test_a_labeled_block_of_it_runs_in_no_regular_edition(install_on_both: Installation) -> None:
    name = draft(install_on_both)
    note = LabeledBlock(
        "note", "opportunity", "Call 911 first", "County", "Now.", "https://fund.example.org/", "events"
    )
    editing.save_labeled_block(install_on_both, EditForm(name, DANA, LATER), note)
    assert note.headline in str(edition(install_on_both, name).content)
    following = drafted(install_on_both, LATER)
    assert (following.name, following.content["blocks"]) == ("2026-W47", [])


def test_the_count_of_merged_subscribers_is_that_of_a_regular_edition(install_on_both: Installation) -> None:
    name = draft(install_on_both)
    with install_on_both.database.write() as session:
        edition_queries.find_edition(session, "2026-W47").merged = 7
        news = edition_queries.find_edition(session, name)
        news.merged, news.release_at = 0, RELEASE + timedelta(days=1)
    with install_on_both.database.read() as session:
        assert edition_queries.count_merged_subscribers(session) == 7


def test_a_story_named_by_two_urls_is_in_it_once(install: Installation) -> None:
    url = url_of(TITLES[0])
    name = draft_breaking_news(install, [url, f"{url}?utm_source=x", f" {url}"], actor=DANA, now=LATER)
    assert len(read_editing_state(install, name).edits) == 1


def test_what_a_subscriber_is_told_of_it_has_no_number(install: Installation) -> None:
    numbers = add_list(install)
    send_approved(install)
    with install.database.read() as session:
        disclosed = list_delivery_disclosures(session, numbers[0], install.settings)
        french = list_delivery_disclosures(session, numbers[0], install.settings, load_language("fr"))
    assert [each.why for each in disclosed] == ["To send you breaking news"]
    assert [each.why for each in french] == ["Pour vous envoyer le bulletin d’alerte"]


def send_approved(install: Installation) -> None:
    name = draft(install)
    approve_news(install, name)
    send(install, name)


def test_the_canary_is_watched_for_two_minutes(install_on_both: Installation) -> None:
    name, half_an_hour = draft(install_on_both), timedelta(minutes=30)
    with install_on_both.database.write() as session:
        news_until = canary.record_canary_end(session, name, now=LATER, observe_for=half_an_hour)
        regular_until = canary.record_canary_end(session, "2026-W47", now=LATER, observe_for=half_an_hour)
        shorter = canary.record_canary_end(session, name, now=LATER, observe_for=timedelta(minutes=1))
    waits = [until - LATER for until in (news_until, regular_until, shorter)]
    assert waits == [timedelta(minutes=2), half_an_hour, timedelta(minutes=1)]


def test_whoever_sends_it_is_told_how_many_are_watched(install: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    add_list(install)
    name = draft(install)
    settings = install.settings.model_copy(update={"mail_url": SecretStr("smtp://127.0.0.1:2525?starttls=off")})
    emailing = Installation(settings, install.database)
    assert breaking_news.view_send_now(emailing, name, now=LATER).canary == 0
    monkeypatch.setattr(canary, "MIN_EDITION_SIZE", 6)  # those who chose it, the paused one too
    monkeypatch.setattr(canary, "MIN_CANARY_SIZE", 2)
    view = breaking_news.view_send_now(emailing, name, now=LATER)
    assert (view.canary, view.canary_minutes) == (2, 2)
    assert breaking_news.view_send_now(install, name, now=LATER).canary == 0


@pytest.mark.parametrize(
    ("addresses", "why"),
    [([], "1 to 10 stories, not 0"), ([f"https://a.example.org/{n}" for n in range(11)], "not 11"), (["crane"], "URL")],
)
def test_no_edition_is_made_of_nothing(install: Installation, addresses: list[str], why: str) -> None:
    with pytest.raises(EditRefusedError, match=why):
        draft_breaking_news(install, addresses, actor=DANA, now=LATER)
    assert list_coming_breaking_news(install) == []


def test_a_page_that_visitors_cannot_read_is_refused(install: Installation) -> None:
    with install.database.write() as session:
        session.scalars(select(Article).where(Article.url == url_of(TITLES[1]))).one().withdrawn_at = DRAFTING
    with pytest.raises(EditRefusedError, match="Visitors can't read this page"):
        draft(install)

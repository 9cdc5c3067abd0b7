"""Breaking news: an extra edition of named stories, which someone sends now, and which leaves the regular edition alone."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from digest.app.approval import edition_approval
from digest.app.editing import changes as editing
from digest.app.editing.breaking_news_drafts import draft_breaking_news, list_coming_breaking_news
from digest.app.editing.edit_application import EditForm
from digest.app.editing.editing_state import EditRefusedError, read_editing_state
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import breaking_news
from digest.app.sending import send_control as sending
from digest.app.sending.breaking_news import SendNowError
from digest.app.site.archive import list_public_edition_page
from digest.deliver.plan import canary, planning
from digest.edition import edition_queries
from digest.edition.approval.approved_versions import ApprovalError, revoke_all_approvals
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.edits import EditionField
from digest.installation.opened_installation import Installation
from digest.settings import SelectionSettings
from digest.store.audit import SETTINGS_CHANGED
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Article, AuditEntry, Edition, EditionState
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

__all__ = ["install", "install_on_both"]

CHOSEN = Preferences(breaking_news=True)
TODAY = LATER.date()
# Each is one subscriber, and whether breaking news is for them.
LIST: tuple[tuple[Preferences, bool], ...] = (
    (CHOSEN, True),
    (Preferences(breaking_news=True, frequency="monthly", zone="UTC", hour=3), True),
    (Preferences(breaking_news=True, omit=frozenset({"featured", "topics", "events"})), True),
    (Preferences(), False),
    (Preferences(breaking_news=True, pause_until=TODAY + timedelta(days=90)), False),
)


def add_list(install: Installation) -> list[int]:
    evidence = ConsentEvidence(
        wording="Yes.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="form",
        actor="test",
        agreed_at=DRAFTING - timedelta(days=100),
    )
    addresses = [f"reader{number}@example.org" for number in range(len(LIST))]
    with install.database.write() as session:
        numbers = add_many_subscribers(session, install.keys, addresses, evidence=evidence, now=DRAFTING)
        for number, (preferences, _) in zip(numbers, LIST, strict=True):
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


def without_final_check(install: Installation) -> Installation:
    schedule = install.settings.file.schedule.model_copy(update={"final_check_minutes": 0})
    file = install.settings.file.model_copy(update={"schedule": schedule})
    return Installation(install.settings.model_copy(update={"file": file}), install.database)


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


def test_one_story_is_enough_however_many_a_regular_edition_needs(install: Installation) -> None:
    file = install.settings.file.model_copy(update={"select": SelectionSettings(minimum=20)})
    demanding = Installation(install.settings.model_copy(update={"file": file}), install.database)
    name = draft(demanding)
    assert edition(demanding, name).state == EditionState.DRAFT
    url = url_of(TITLES[1])
    editing.drop_stories(demanding, EditForm(name, DANA, LATER), url)
    assert edition(demanding, name).state == EditionState.INCOMPLETE


def test_it_waits_for_someones_word_and_goes_then(install_on_both: Installation) -> None:
    install = without_final_check(install_on_both)
    add_list(install)
    name = draft(install)
    approve_news(install, name)
    assert ready(install) == ()
    breaking_news.send_now(install, name, actor=SAM, now=LATER)
    breaking_news.send_now(install, name, actor=DANA, now=LATER)
    assert ready(install) == (name,)
    with install.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "send now")).all()
    assert [(row.actor, row.subject, row.detail) for row in rows] == [(SAM.name, name, {"recipients": 3})]


def test_the_last_check_comes_before_it(install: Installation) -> None:
    add_list(install)
    name = draft(install)
    approve_news(install, name)
    breaking_news.send_now(install, name, actor=SAM, now=LATER)
    assert install.settings.file.schedule.final_check_minutes
    assert ready(install) == ()


def test_it_goes_at_once_to_those_who_get_breaking_news_and_to_no_one_else(install_on_both: Installation) -> None:
    numbers = add_list(install_on_both)
    name = draft(install_on_both)
    approve_news(install_on_both, name)
    view = breaking_news.view_send_now(install_on_both, name, now=LATER)
    assert view.audience == BreakingNewsAudience(recipients=3, not_chosen=1, paused=1)
    assert (view.obstacle, view.canary) == (None, 0)
    planning.plan_deliveries(install_on_both.database, name, install_on_both.keys, install_on_both.settings, now=LATER)
    with install_on_both.database.read() as session:
        rows = {row.person: row for row in session.scalars(select(Delivery))}
    for number, (_, is_sent) in zip(numbers, LIST, strict=True):
        assert (rows[number].state is DeliveryState.WAITING) is is_sent
        assert rows[number].due_at == LATER
    report = sending.send_edition(install_on_both, name, actor=ADMIN, clock=lambda: LATER)
    assert (report.state, report.handed_over) == (EditionState.SENT, 3)
    text = "".join(file.read_text() for file in install_on_both.settings.outbox_folder.rglob("*.eml"))
    assert text.count("/breaking-news") >= 3
    assert "Breaking news. " in text
    assert "No. 0" not in text


def test_the_regular_edition_is_as_if_there_were_none(install_on_both: Installation) -> None:
    numbers = add_list(install_on_both)
    before, number = bodies(install_on_both.database), edition(install_on_both, "2026-W47").number
    name = draft(install_on_both)
    approve_news(install_on_both, name)
    sending.send_edition(install_on_both, name, actor=ADMIN, clock=lambda: LATER)
    drafted(install_on_both, LATER)
    assert bodies(install_on_both.database)[: len(before)] == before
    with install_on_both.database.read() as session:
        assert edition_queries.next_edition_number(session, 1) == number
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
    assert list_public_edition_page(install_on_both, before=None).editions == ()


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
        breaking_news.send_now(install, name, actor=SAM, now=LATER)
    assert edition(install, name).send_requested_at is None


def test_neither_a_regular_edition_nor_stale_news_is_sent_now(install: Installation) -> None:
    add_list(install)
    approve(install, PRIYA)
    with pytest.raises(SendNowError, match="is a regular edition"):
        breaking_news.send_now(install, "2026-W47", actor=SAM, now=LATER)
    name = draft(install)
    approve_news(install, name)
    with pytest.raises(SendNowError, match="approved more than a day ago"):
        breaking_news.send_now(install, name, actor=SAM, now=LATER + timedelta(days=1, minutes=1))


def test_an_edit_takes_the_word_back(install_on_both: Installation) -> None:
    install = without_final_check(install_on_both)
    add_list(install)
    name = draft(install)
    approve_news(install, name)
    breaking_news.send_now(install, name, actor=SAM, now=LATER)
    agreed = read_editing_state(install, name).approval
    form = EditForm(name, DANA, LATER, supersedes=agreed)
    editing.set_edition_text(install, form, EditionField.SUBJECT, "Breaking: a hurricane turns")
    assert edition(install, name).send_requested_at is None
    approve_news(install, name)
    assert ready(install) == ()


def test_the_canary_is_watched_for_two_minutes(install_on_both: Installation) -> None:
    name, half_an_hour = draft(install_on_both), timedelta(minutes=30)
    with install_on_both.database.write() as session:
        news_until = canary.record_canary_end(session, name, now=LATER, observe_for=half_an_hour)
        regular_until = canary.record_canary_end(session, "2026-W47", now=LATER, observe_for=half_an_hour)
        shorter = canary.record_canary_end(session, name, now=LATER, observe_for=timedelta(minutes=1))
    waits = [until - LATER for until in (news_until, regular_until, shorter)]
    assert waits == [timedelta(minutes=2), half_an_hour, timedelta(minutes=1)]


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

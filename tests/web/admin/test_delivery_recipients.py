"""The subscribers behind a count of an edition's deliveries: by number, with the server's reply, and addresses for a reason."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import event, select, update

from digest.app.editions.count_cache import CountCache
from digest.app.sending import delivery_views
from digest.deliver.retention.delivery_disclosures import add_old_deliveries_to_totals
from digest.deliver.send.refusals import refused_deliveries
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import AuditEntry, Edition
from digest.web.server import open_page_server
from subscribers.address import Address
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.store.models import Disclosure
from tests.actors import ADMIN
from tests.browser import choose_by_keyboard, faulty_pages, follow, press_by_keyboard, sign_in
from tests.moments import DRAFTING as NOW
from tests.web.admin.test_sending import NEW, fill
from tests.web.desk.sending.test_refusals import BLOCKED, GONE, NAME, PATH, add_refusals
from tests.web.forms import post_form

LIST = f"/admin/deliveries/{NEW}/recipients"
BOUNCED = "An email bounced or was reported as spam"


def numbers(page: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r'href="/admin/readers/\d+">([\d,]+)</a>', page)]


def test_every_count_of_an_edition_leads_to_its_list(both: Any) -> None:
    people = fill(both)
    admin = both.signed_in_client("admin")
    deliveries = admin.get("/admin/deliveries").text
    links = dict.fromkeys(re.findall(rf'href="({LIST}[^"]*)">(\d+)(?: subscribers?)?</a>', deliveries))
    results = {path.partition("result=")[2] for path, _ in links}
    assert results >= {"planned", "accepted", "refused", "uncertain", "complained"}
    for path, count in links:
        page = admin.get(path.replace("&amp;", "&")).text
        assert re.search(rf"<h1>{count} emails? ", page), path
        assert len(numbers(page)) == int(count), path
    found = admin.get(f"{LIST}?result=complained").text
    assert ("<h1>1 email reported as spam</h1>" in found, numbers(found)) == (True, people[:1])
    lede = re.findall(r'<p class="lede">(.*)</p>', deliveries)[0]
    assert re.findall(r'result=(\w+)">', lede) == ["accepted", "uncertain"]
    assert numbers(admin.get(f"{LIST}?result=uncertain").text) == sorted(people[3:], reverse=True)
    assert '<th scope="col">Last attempt</th>' in admin.get(f"{LIST}?result=planned").text, "some are waiting"
    page = admin.get(f"{LIST}?result=expired").text
    assert "<h1>0 emails that failed for three days</h1>" in page


def test_a_group_of_refusals_is_listed_with_its_words_and_the_next_step(both: Any) -> None:
    admin = add_refusals(both).signed_in_client("admin")
    sending = admin.get(f"{PATH}/sending").text
    (path,) = re.findall(r'href="([^"]+group=reputation-\w+)"', sending)
    page = admin.get(path.replace("&amp;", "&")).text
    assert "<h1>8 emails refused by gmail.com</h1>" in page
    assert page.count(f"“{BLOCKED}”") == 1
    assert page.count(f'Reply:">{BLOCKED}<') == 8
    assert "Send again to 8…" in page
    assert "Ask gmail.com to unblock you" in page
    assert "@" not in re.sub(r"mailto:[^\"]*", "", page.partition("<main")[2]), "no address is shown"


def test_all_refusals_are_listed_with_their_groups(both: Any) -> None:
    admin = add_refusals(both).signed_in_client("admin")
    page = admin.get(f"/admin/deliveries/{NAME}/recipients?group=all").text
    assert "<h1>11 emails refused</h1>" in page
    assert len(numbers(page)) == 11
    assert re.findall(r'data-label="Emails"><a href="[^"]+">(\d+)<', page) == ["8", "2", "1"]
    none = admin.get(f"/admin/deliveries/{NAME}/recipients?group=message-000000000000").text
    assert "<h1>0 emails refused</h1>" in none


@pytest.mark.parametrize("group", ["all", "reputation"])
def test_a_page_of_refusals_reads_no_more_of_them_than_it_shows(
    both: Any, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    add_refusals(both)
    tag = make_domain_tag(both.install.keys, Address("x", "gmail.com"))[:12]
    monkeypatch.setattr(delivery_views, "MAX_RECIPIENTS", 2)
    monkeypatch.setattr(refused_deliveries, "BATCH_SIZE", 2)
    recent, asked = CountCache(max_at_once=0), []
    read_page = refused_deliveries.iterate_refused

    def note_page(session: Any, edition: str, people: Any) -> Any:
        asked.append(len(people))
        return read_page(session, edition, people)

    monkeypatch.setattr(refused_deliveries, "iterate_refused", note_page)
    found: list[int] = []
    below: int | None = None
    while not found or below:
        view = delivery_views.view_delivery_recipients(
            both.install,
            ADMIN,
            NAME,
            result="",
            group=group if group == "all" else f"{group}-{tag}",
            below=below,
            recent=recent,
            now=NOW,
        )
        found += [one.subscriber.number for one in view.recipients]
        below = view.next_below
    assert (view.count, len(found), found) == (len(found), 11 if group == "all" else 8, sorted(found, reverse=True))
    assert max(asked) == 3, "one more than on the page"


@pytest.mark.sqlite  # its planner would take the index by number, and walk through all deliveries
@pytest.mark.parametrize("query", ["group=all", "result=unsent", "result=other"])
def test_deliveries_in_a_state_are_found_by_it(world: Any, query: str) -> None:
    add_refusals(world)
    asked: list[tuple[str, Any]] = []

    def note_statement(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(world.database.engine, "before_cursor_execute", note_statement)
    assert world.signed_in_client("admin").get(f"/admin/deliveries/{NAME}/recipients?{query}").status_code == 200
    event.remove(world.database.engine, "before_cursor_execute", note_statement)
    by_number = []
    with world.database.read() as session:
        connection = session.connection().connection.driver_connection
        for statement, parameters in asked:
            if statement.startswith("SELECT") and "FROM delivery" in statement:
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                by_number += [statement for row in plan if "(purpose=? AND person>?" in row[3]]
    assert by_number == []


@pytest.mark.parametrize("most", [2, 20_000])
def test_the_list_goes_on_by_number(both: Any, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(delivery_views, "MAX_RECIPIENTS", 2)
    monkeypatch.setattr(delivery_views, "MAX_SORTED", most)
    people = fill(both)
    admin, path, found = both.signed_in_client("admin"), f"{LIST}?result=uncertain", []
    while path:
        page = admin.get(path).text
        found.append(numbers(page))
        following = re.findall(r'href="([^"]+)">Next 50<', page)
        path = following[0].replace("&amp;", "&") if following else ""
    assert found == [sorted(people[4:], reverse=True), [people[3]]]


def test_erased_people_are_counted_but_not_listed(both: Any) -> None:
    fill(both)
    with both.database.write() as session:
        session.execute(update(Delivery).where(Delivery.state == DeliveryState.REFUSED).values(person=None))
    page = both.signed_in_client("admin").get(f"{LIST}?result=refused").text
    assert "<h1>2 emails refused</h1>" in page
    assert numbers(page) == []
    assert "Erased subscribers and emails older than 400 days aren’t listed." in page


def test_a_group_without_a_providers_name_has_a_title_in_english(both: Any) -> None:
    fill(both)
    admin = both.signed_in_client("admin")
    (path,) = re.findall(r'href="([^"]+group=full\+mailbox-\w+)"', admin.get("/admin/deliveries").text)
    heading = re.findall(r"<h1>(.*)</h1>", admin.get(path.replace("&amp;", "&")).text)
    tag = path.partition("group=full+mailbox-")[2]
    assert heading == [f"1 email refused by an unnamed provider ({tag[:6]})"]
    with both.database.write() as session:
        session.execute(update(Delivery).values(person=None, domain_tag=None))
    page = admin.get(f"{LIST}?group=full+mailbox-").text
    assert "<h1>1 email refused (erased subscribers)</h1>" in page


def test_an_edition_has_the_day_on_which_it_was_sent(world: Any) -> None:
    fill(world)
    with world.database.write() as session:
        session.execute(update(Edition).values(planned_at=datetime(2026, 11, 30, 20, tzinfo=UTC)))
    assert "</a>, Nov. 30, 2026<small>" in world.signed_in_client("admin").get("/admin/deliveries").text


def test_a_list_says_from_when_on_emails_are_kept(both: Any) -> None:
    fill(both)
    old = NOW - timedelta(days=500)
    with both.database.write() as session:
        session.execute(update(Delivery).values(due_at=old, next_try_at=old, handed_at=old))
        session.execute(update(Edition).values(release_at=old))
    totals = add_old_deliveries_to_totals(both.database, both.install.keys, both.install.settings, now=NOW)
    page = both.signed_in_client("admin").get(f"{LIST}?result=accepted").text
    assert totals > 6
    assert "<h1>1 email accepted</h1>" in page
    assert "0 of 1. Erased subscribers and emails older than" in page


def test_addresses_are_shown_for_a_reason_that_each_owner_sees(both: Any) -> None:
    people = fill(both)
    admin, path = both.signed_in_client("admin"), f"{LIST}?result=refused"
    assert "r1@gmail.com" not in admin.get(path).text
    refused = post_form(admin, path)
    assert (refused.status_code, "r1@gmail.com" in refused.text) == (400, False)
    assert post_form(admin, path, why=BOUNCED).headers["Location"].endswith(path)
    page = admin.get(path).text
    assert all(f"r{place}@gmail.com" in page for place in (1, 2))
    assert "r0@gmail.com" not in page
    with both.database.read() as session:
        seen = session.execute(select(Disclosure.person, Disclosure.why)).all()
        audit = session.scalars(select(AuditEntry.subject).where(AuditEntry.act == "subscriber address shown")).all()
    assert sorted(seen) == [(people[1], BOUNCED), (people[2], BOUNCED)]
    assert sorted(audit) == sorted(f"person {number}" for number in people[1:3])
    assert "r1@gmail.com" not in both.signed_in_client("admin").get(path).text, "another sign-in asks again"


def test_only_results_that_there_are_have_a_list(world: Any) -> None:
    fill(world)
    assert world.signed_in_client("admin").get(f"{LIST}?result=nothing").status_code == 404
    assert world.signed_in_client("admin").get("/admin/deliveries/2019-W01/recipients").status_code == 404
    assert world.desk.get(LIST).status_code == 403


def test_a_subscribers_record_has_the_words(both: Any) -> None:
    admin = add_refusals(both).signed_in_client("admin")
    with both.database.read() as session:
        person = session.scalars(select(Delivery.person).where(Delivery.reply == BLOCKED).limit(1)).one()
    page = admin.get(f"/admin/readers/{person}").text
    assert f"Refused (blocked by the mailbox provider’s policy)<small>“{BLOCKED}”</small>" in page


def test_both_ways_of_finding_a_page_agree(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(both)
    for result in delivery_views.RESULT_STATES:
        found = []
        for most in (0, 20_000):
            monkeypatch.setattr(delivery_views, "MAX_SORTED", most)
            view = delivery_views.view_delivery_recipients(
                both.install, ADMIN, NEW, result=result, group="", below=None, now=NOW
            )
            found.append([one.subscriber.number for one in view.recipients])
        assert found[0] == found[1], result


def test_many_bounced_recipients_take_as_many_queries_as_one(both: Any) -> None:
    add_refusals(both)
    with both.database.read() as session:
        people = session.scalars(select(Delivery.person).where(Delivery.reply.in_((BLOCKED, GONE)))).all()
    counts = []
    for bounced in (people[:1], people[1:]):
        with both.database.write() as session:
            for person in bounced:
                said = DeliveryFeedbackReport(person, DeliveryFeedbackKind.BOUNCED, NOW, "test", {})
                assert apply_feedback_to_person(session, both.install.keys, said, now=NOW)[0]
        statements: list[str] = []

        def note_statement(
            _connection: Any, _cursor: Any, statement: str, *_: Any, noted: list[str] = statements
        ) -> None:
            noted.append(statement)

        event.listen(both.database.engine, "before_cursor_execute", note_statement)
        view = delivery_views.view_delivery_recipients(
            both.install, ADMIN, NAME, result="refused", group="", below=None, now=NOW
        )
        event.remove(both.database.engine, "before_cursor_execute", note_statement)
        counts.append((sum(one.may_correct_address for one in view.recipients), len(statements)))
    assert [correctable for correctable, _ in counts] == [1, len(people)]
    assert counts[0][1] == counts[1][1]


@pytest.mark.chromium
def test_an_admin_goes_from_a_count_to_the_people_and_suppresses_them(browser: Browser, world: Any) -> None:
    add_refusals(world)
    with world.database.write() as session:
        gone = session.scalars(select(Delivery.person).where(Delivery.reply == GONE)).one()
        said = DeliveryFeedbackReport(gone, DeliveryFeedbackKind.BOUNCED, NOW, "test", {})
        assert apply_feedback_to_person(session, world.install.keys, said, now=NOW)[0]
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": 390, "height": 844})
        sign_in(context, world, address, "admin")
        page = context.new_page()
        lists = [f"/admin/deliveries/{NAME}/recipients?result={result}" for result in ("refused", "expired")]
        assert faulty_pages(page, address, [*lists, "/admin/deliveries"], widths=(390, 1440)) == {}
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"{address}{PATH}/sending")
        follow(page.locator("#refused").get_by_role("link", name="2", exact=True))
        expect(page.get_by_role("heading", level=1)).to_have_text("2 emails refused by gmail.com")
        choose_by_keyboard(page.get_by_role("radio", name=BOUNCED))
        press_by_keyboard(page.get_by_role("button", name="Show 2 email addresses"))
        expect(page.get_by_text("r8@gmail.com")).to_be_visible()
        press_by_keyboard(page.get_by_role("link", name="Suppress 2…"))
        page.get_by_label("Reason").fill("full for months")
        follow(page.get_by_role("button", name="Suppress 2 addresses"))
        page.goto(f"{address}{PATH}/sending")
        follow(page.locator("#refused").get_by_role("link", name="2", exact=True))
        expect(page.get_by_role("cell", name="Suppressed").first).to_be_visible()
        page.goto(f"{address}{lists[0]}")
        correct = page.get_by_role("link", name="Correct the address…")
        expect(correct).to_have_count(1)  # not for those whom the admin suppressed
        press_by_keyboard(correct)
        expect(page).to_have_url(f"{address}/admin/readers/{gone}/correct")
        context.close()

"""The sign-up pages: one answer for everyone, and consent only by clicking the button."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from lxml import html as lxml_html
from sqlalchemy import event, func, select
from werkzeug.datastructures import MultiDict

from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.app.site.page_context import describe_release_days
from digest.app.subscribers.consent_texts import build_consent_text
from digest.edition.approval import approved_versions
from digest.edition.archive.story_archive import archive_edition_stories
from digest.edition.edition_queries import find_edition
from digest.installation.opened_installation import Installation
from digest.settings import Settings, UsageLimitSettings
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail
from digest.store.models import EditionState
from digest.timetable import parse_schedule_rule
from digest.web.app import create_app
from subscribers.address import read_address
from subscribers.consent import suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.request_processor import SignupReplyKind
from subscribers.store import people
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.signup_models import RateLimitCount, SignupRequest
from tests.conftest import ROOT
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE

ADA = "ada.lovelace@analytical.example"  # subscribed, see conftest
BO = "bo.peep@county.example"
FORM = {"email": BO, "agree": "yes", "wording": "1"}
OUT = {"REMOTE_ADDR": "93.184.216.34"}


def form_for(address: str) -> dict[str, str]:
    return {**FORM, "email": address}


def count(world: Any, table: type) -> int:
    with world.database.read() as session:
        return int(session.scalar(select(func.count()).select_from(table)) or 0)


def person(world: Any, address: str = BO) -> Person | None:
    with world.database.read() as session:
        number = people.find_person_number(session, world.install.keys, read_address(address))
        return session.get(Person, number) if number else None


def answered(world: Any, now: datetime = NOW) -> dict[SignupReplyKind, int]:
    answers = process_signup_requests(world.install, clock=lambda: now)
    return {answer: n for answer, n in answers.items() if n}


def send_signed_edition(world: Any) -> None:
    """Store the edition of the week before as it went out: a welcome email quotes only what was signed."""
    name = world.edition(release_at=RELEASE - timedelta(7), name="2026-W46", number=146)
    settings, keys = world.install.settings, world.install.keys
    with world.database.write() as session:
        edition = find_edition(session, name)
        mark = approved_versions.read_current_content_hash(session, edition, settings)
        approved_versions.sign_approval(session, edition, mark, settings=settings, keys=keys, actor="staff 1", now=NOW)
        edition.state = EditionState.SENT
        archive_edition_stories(session, edition)


def mailed(world: Any, now: datetime = NOW) -> list[str]:
    """Hand over what is queued; give the new messages as text, soft line breaks undone."""
    folder = world.install.settings.outbox_folder / "notice"
    before = set(folder.glob("*.eml")) if folder.exists() else set()
    send_due_transactional_emails(world.install, clock=lambda: now)
    new = sorted(set(folder.glob("*.eml")) - before) if folder.exists() else []
    return [f.read_text("ascii").replace("=\n", "").replace("=3D", "=") for f in new]


def link_in(message: str) -> str:
    match = re.search(r"https://news\.example\.org(/confirm/[\w-]{22})", message)
    assert match
    return match[1]


def asked_link(world: Any, address: str = BO) -> str:
    world.client.post("/subscribe", data=form_for(address))
    answered(world)
    (message,) = mailed(world)
    return link_in(message)


def at(world: Any, now: datetime) -> Any:
    """Give the same installation's pages at another time."""
    return create_app(world.install, clock=lambda: now).test_client()


def test_the_form_is_one_field_and_the_words_agreed_to_stand_above_the_button_of_the_link(world: Any) -> None:
    page = world.client.get("/subscribe").text
    assert "In your inbox every Friday." in page
    assert "checkbox" not in re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL), "the rest is optional"
    assert "<script" not in page
    assert world.client.post("/subscribe", data={"email": BO}).status_code == 200
    answered(world)
    (message,) = mailed(world)
    page = world.client.get(link_in(message)).text
    assert page.index(build_consent_text(Settings()).text) < page.index("<button")


def test_the_whole_way_from_the_form_to_the_list(both: Any) -> None:
    world = both
    send_signed_edition(world)
    answer = world.client.post("/subscribe", data=FORM, environ_base=OUT)
    assert answer.status_code == 200
    assert "email you a link that works for 7 days" in answer.text
    assert "An earlier link works for 7 days, but only once and not after your data is erased." in answer.text
    assert BO not in answer.text
    assert person(world) is None
    assert answered(world) == {SignupReplyKind.CONFIRM: 1}
    (mail,) = mailed(world)
    link = link_in(mail)
    page = world.client.get(link)
    assert page.status_code == 200
    assert "b•••@county.example" in page.text
    assert "Yes, email me HLS.Today" in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert (person(world) or Person()).state is PersonState.REQUESTED
    done = world.client.post(link)
    assert "No. 147 arrives on Friday, November 20, 2026." in done.text
    assert (person(world) or Person()).state is PersonState.SUBSCRIBED
    (welcome,) = mailed(world)
    assert "What you agreed to" in welcome
    assert "#my-data" in welcome
    assert "SHA-256" not in welcome
    assert "/editions/2026-W46" in welcome
    assert "https://fema.example/2026-W46" in welcome, "the best of the newest edition"
    assert "Next deadline: Friday, December 4" in welcome
    assert count(world, QueuedNoticeEmail) == 0
    again = world.client.post(link)
    assert again.status_code == 200
    assert "Already confirmed." in again.text
    assert " arrives on " not in again.text, "their preferences decide which edition is next"
    assert mailed(world) == []


def test_the_privacy_page_says_what_a_form_leaves_behind_and_for_how_long(world: Any) -> None:
    page = world.client.get("/privacy").text
    assert "keep them encrypted for 90 days" in page
    assert "delete it after 7 days" in page


def test_the_form_may_stand_on_another_page_and_is_recorded_as_that(world: Any) -> None:
    foreign = {"Origin": "https://hls.today", "Referer": "https://hls.today/newsletter/"}
    answer = world.client.post("/subscribe", data={**FORM, "form": "embedded"}, headers=foreign)
    assert answer.status_code == 200
    answered(world)
    with world.database.read() as session:
        query = select(ConsentEvent.body).where(ConsentEvent.kind == ConsentKind.REQUESTED)
        fields = json.loads(session.scalars(query).one())
    assert (fields["page"], fields["where"]) == ("https://hls.today/", "hls.today")


def test_no_text_of_a_form_reaches_the_mail(world: Any) -> None:
    planted = "Cheap-pills"
    data = {**FORM, "form": planted, "name": planted, "page": planted, "where": planted}
    world.client.post("/subscribe", data=data, headers={"User-Agent": planted, "Referer": planted})
    answered(world)
    (mail,) = mailed(world)
    assert planted not in mail


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"email": ""}, "Enter your email address."),
        ({"email": "bo.peep"}, "The address has no @"),
        ({"email": "bo.peep@"}, "Text is missing after the @"),
        ({"email": "bo peep@county.example"}, "Check the address."),
        ({"email": "b@" + "x" * 300}, "too long for an email address"),
        ({"email": BO, "wording": "99"}, "This form is out of date"),
    ],
)
def test_a_form_that_cannot_be_kept_says_why_beside_the_field_and_keeps_what_was_typed(
    world: Any, form: dict[str, str], words: str
) -> None:
    answer = world.client.post("/subscribe", data={"wording": "1", "agree": "yes", **form})
    assert answer.status_code == 400
    assert words in answer.text
    assert answer.text.count("aria-invalid") == answer.text.count('aria-describedby="email-problem"') <= 1
    assert (
        f'name="email" value="{form["email"]}"' in answer.text
        if form.get("email")
        else 'name="email" required' in answer.text
    )
    assert answer.headers["Cache-Control"] == "no-store"
    assert count(world, SignupRequest) == 0


def read_hidden_fields(page: str) -> MultiDict[str, str]:
    """Return what the form of a page that asks to send a form again contains."""
    form = lxml_html.fromstring(page).xpath("//form")[0]
    return MultiDict(form.form_values())


@pytest.mark.parametrize("path", ["/subscribe", "/preferences"])
def test_a_form_whose_hidden_field_is_filled_in_is_sent_again_with_all_its_fields(world: Any, path: str) -> None:
    before = world.dump()
    topics = [key for key, _ in world.app.extensions["subscribers"].site.topics][:2]
    asks = {"asks": "omit_topics breaking_news", "topic": topics, "breaking_news": "yes"}
    trapped = world.client.post(path, data={**FORM, **asks, "website": "https://spam.example"})
    assert trapped.status_code == 200
    assert "We haven’t received your form yet." in trapped.text
    assert trapped.headers["Cache-Control"] == "no-store"
    assert world.dump() == before, "it isn't answered as if it was taken"
    fields = read_hidden_fields(trapped.text)
    assert "website" not in fields
    assert fields.getlist("topic") == topics
    assert {name: fields[name] for name in FORM} == FORM
    assert world.client.post(path, data=fields).data == world.client.post(path, data={**FORM, **asks}).data
    assert count(world, SignupRequest) == 2


def test_what_is_sent_again_is_escaped(world: Any) -> None:
    trapped = world.client.post("/subscribe", data={"email": '"><script>x</script>', "website": "x"})
    assert "<script" not in trapped.text


def test_a_message_whose_hidden_field_is_filled_in_is_sent_again(world: Any) -> None:
    message = {"message": "Two lines,\r\nand <b>more</b>.", "email": ""}
    fields = read_hidden_fields(world.client.post("/contact", data={**message, "website": "x"}).text)
    assert count(world, QueuedNoticeEmail) == 0
    assert (fields["message"].splitlines(), fields["email"]) == (message["message"].splitlines(), "")
    world.client.post("/contact", data=fields)
    assert count(world, QueuedNoticeEmail) == 1


@pytest.mark.parametrize("path", ["/subscribe", "/preferences", "/contact", "/"])
def test_the_hidden_field_needs_no_style_to_be_hidden(world: Any, path: str) -> None:
    page = world.client.get(path).text
    assert re.search(r'<div hidden><label>[^<]*<input type="text" name="website"', page)
    guide = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    assert "style=" not in guide
    assert guide.count("<div hidden>") == guide.count('name="website"') == 2


def test_the_guide_leads_with_what_works_for_everyone_who_writes_in_wordpress() -> None:
    guide = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    link, snippet, block = (guide.index(words) for words in ("/subscribe`.", "```php", "unfiltered_html"))
    assert link < snippet < block < guide.index("```html")


def test_the_welcome_page_leads_to_the_preferences_for_an_hour(world: Any) -> None:
    link = asked_link(world)
    page = world.client.post(link).text
    (path,) = set(re.findall(r'href="(/preferences/[\w-]+)"', page))
    assert "Choose preferences" in page
    assert "Your preferences for" in world.client.get(path).text
    later = world.client.get(link).text
    assert not re.findall(r'href="(/preferences/[\w-]+)"', later), "the email may have been forwarded"
    assert 'href="/preferences"' in later


def test_a_network_that_sends_too_many_is_turned_away_with_words(world: Any) -> None:
    for n in range(30):
        assert world.client.post("/subscribe", data=form_for(f"r{n}@x.example"), environ_base=OUT).status_code == 200
    answer = world.client.post("/subscribe", data=FORM, environ_base=OUT)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3600")
    assert "too many requests from your network" in answer.text
    assert world.client.post("/subscribe", data=FORM, environ_base={"REMOTE_ADDR": "8.8.8.8"}).status_code == 200


def with_limits(world: Any, **limits: Any) -> Any:
    file = world.install.settings.file.model_copy(update={"limits": UsageLimitSettings(**limits)})
    settings = world.install.settings.model_copy(update={"file": file})
    install = Installation(settings, world.database)
    return create_app(install, clock=lambda: NOW).test_client()


def test_when_too_many_wait_everybody_is_asked_to_come_back(world: Any) -> None:
    client = with_limits(world, signups_waiting=1)
    assert client.post("/subscribe", data=FORM).status_code == 200
    answer = client.post("/subscribe", data=form_for("cy@x.example"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3600")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "networks"),
    [
        (0, ["8.8.4.4", "1.1.1.1"], 1),  # not believed: both count for the machine that sent them
        (1, ["8.8.4.4, 1.1.1.1", "8.8.4.4, 9.9.9.9"], 2),
        (1, ["1.1.1.1, 8.8.4.4", "9.9.9.9, 8.8.4.4"], 1),  # what stands before is anybody's word
        (2, ["1.1.1.1, 8.8.4.4, 5.5.5.5", "9.9.9.9, 8.8.4.4, 5.5.5.5"], 1),
        (1, ["8.8.4.4:51234", "8.8.4.4:443", "1.1.1.1:443"], 2),
        (1, ["[2606:2800:220::1]:443", "[2606:2800:220::2]", "[2607:f8b0::1]:443"], 2),
        (1, ["unknown", "_hidden", "8.8.4.4:port"], 1),  # nobody gets out of being counted
    ],
)
def test_of_forwarded_addresses_only_those_of_our_own_proxies_count(
    world: Any, proxies: int, forwarded: list[str], networks: int
) -> None:
    client = with_limits(world, proxies=proxies)
    for header in forwarded:
        client.post("/subscribe", data=FORM, environ_base=OUT, headers={"X-Forwarded-For": header})
    with world.database.read() as session:
        query = select(func.count()).select_from(RateLimitCount).where(RateLimitCount.scope == "sign-up network")
        assert session.scalar(query.where(RateLimitCount.tag != "")) == networks


# One and the same for everybody -------------------------------------------------------------------------------


def everybody(world: Any) -> dict[str, str]:
    """Make one address of each standing."""
    addresses = {
        "unknown": "nobody@nowhere.example",
        "pending": BO,
        "confirmed": ADA,
        "withdrawn": "cy.left@county.example",
        "bounced": "dee.full@county.example",
        "complained": "eve.angry@county.example",
    }
    client = world.client
    for standing in ("pending", "withdrawn", "bounced", "complained"):
        client.post("/subscribe", data=form_for(addresses[standing]))
    assert answered(world) == {SignupReplyKind.CONFIRM: 4}
    for mail in mailed(world):
        if BO not in mail:
            client.post(link_in(mail))
    keys = world.install.keys
    with world.database.write() as session:
        number = people.find_person_number(session, keys, read_address(addresses["withdrawn"]))
        assert number is not None
        unsubscribe_log = UnsubscribeLog(world.install.settings.left_log, keys)
        unsubscribe_person(session, unsubscribe_log, number, method="page", now=NOW)
        for reason in ("bounced", "complained"):
            address = read_address(addresses[reason])
            suppression.suppress_address(
                session, keys, address, reason=reason, actor="webhook", now=NOW, unsubscribe_log=unsubscribe_log
            )
    assert {(person(world, a) or Person()).state for a in addresses.values()} >= {
        PersonState.REQUESTED,
        PersonState.SUBSCRIBED,
        PersonState.WITHDRAWN,
        PersonState.SUPPRESSED,
    }
    return addresses


@contextmanager
def recorded(world: Any) -> Iterator[list[str]]:
    """Note every statement with the shape of its values."""
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:  # noqa: FBT001
        shape = sorted(values) if isinstance(values, dict) else len(values)
        statements.append(f"{statement} {shape} {many}")

    event.listen(world.database.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(world.database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("path", ["/subscribe", "/preferences"])
def test_the_same_statements_and_the_same_answer_whoever_it_is(both: Any, path: str) -> None:
    said, done, sizes = {}, {}, {}
    for standing, address in everybody(both).items():
        with recorded(both) as statements:
            got = both.client.post(path, data=form_for(address), environ_base=OUT)
        said[standing] = (got.status_code, sorted(got.headers.items()), got.data)
        done[standing] = statements
        with both.database.read() as session:
            newest = session.scalars(select(SignupRequest).order_by(SignupRequest.id.desc())).first()
            assert newest is not None
            sizes[standing] = len(newest.ciphertext)
    assert len(done["unknown"]) >= 5
    for standing, answer in said.items():
        assert answer == said["unknown"], standing
        assert done[standing] == done["unknown"], standing
        assert sizes[standing] == sizes["unknown"], standing


def test_the_recorder_sees_a_statement_too_many(world: Any) -> None:
    with recorded(world) as statements:
        world.client.post("/subscribe", data=FORM)
        before = len(statements)
        person(world, ADA)
    assert len(statements) > before


# Links and scanners ---------------------------------------------------------------------------------------------


def test_opening_links_in_every_way_changes_no_row(both: Any) -> None:
    world = both
    fresh = asked_link(world)
    used = asked_link(world, "cy@county.example")
    world.client.post(used)
    (welcome,) = mailed(world)
    world.client.post("/subscribe", data=form_for(ADA))
    answered(world)
    (known,) = mailed(world)
    links = {fresh, used, "/subscribe", "/preferences", "/confirm/" + "A" * 22, "/confirm/x"}
    for mail in (welcome, known):
        links |= set(re.findall(r"https://news\.example\.org(/[\w/.-]*)", mail))
    assert {link.split("/")[1] for link in links} >= {"confirm", "u", "preferences", "subscribe", "privacy"}
    before = world.dump()
    for client in (world.client, at(world, NOW + timedelta(days=8))):
        for _ in range(2):
            for link in sorted(links):
                for method in ("GET", "HEAD", "OPTIONS"):
                    assert client.open(link, method=method).status_code < 500
    assert world.dump() == before


def test_a_link_that_ran_out_says_when_and_offers_another(world: Any) -> None:
    link = asked_link(world)
    later = at(world, NOW + timedelta(days=8))
    for answer in (later.get(link), later.post(link)):
        assert answer.status_code == 410
        assert "The link was valid until November 26, 2026 at the latest and wasn’t used." in answer.text
        assert "Sign up again" in answer.text
    assert (person(world) or Person()).state is PersonState.REQUESTED


def test_a_link_that_was_used_brings_nobody_back(world: Any) -> None:
    link = asked_link(world)
    world.client.post(link)
    number = (person(world) or Person()).number
    world.client.post(f"/u/{world.token('leave', number)}")
    answer = world.client.post(link)
    assert answer.status_code == 410
    assert "has since ended" in answer.text
    assert (person(world) or Person()).state is PersonState.WITHDRAWN


@pytest.mark.parametrize("odd", ["A" * 22, "x", "%00", "A" * 500, "é", "..%2f"])
def test_an_unknown_link_is_one_and_the_same_page(world: Any, odd: str) -> None:
    page = world.client.get("/confirm/" + "B" * 22)
    for method in ("GET", "POST"):
        answer = world.client.open(f"/confirm/{odd}", method=method)
        assert answer.status_code == 404
        if "%2f" not in odd:
            assert answer.data == page.data


@pytest.mark.sqlite  # which keeps texts in columns of numbers
def test_a_text_in_an_editions_number_stops_no_confirmation_and_is_emailed_to_no_one(world: Any) -> None:
    send_signed_edition(world)
    link = asked_link(world)
    with closing(sqlite3.connect(world.database.engine.url.database)) as connection, connection:
        connection.execute("UPDATE edition SET number = 'Pay at evil.example'")
    done = world.client.post(link)
    assert done.status_code == 200
    assert "evil.example" not in done.text
    (welcome,) = mailed(world)
    assert "evil.example" not in welcome


def test_a_confirmation_needs_no_cookie_no_token_and_no_body(world: Any) -> None:
    link = asked_link(world)
    answer = world.app.test_client(use_cookies=False).post(link, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert (person(world) or Person()).state is PersonState.SUBSCRIBED


def test_a_lost_link_is_mailed_to_its_owner_alone(world: Any) -> None:
    form = world.client.get("/preferences").text
    assert "Lost your link?" in form
    bad = world.client.post("/preferences", data={"email": "nothing"})
    assert (bad.status_code, bad.text.count("aria-invalid"), 'value="nothing"' in bad.text) == (400, 1, True)
    for address in (ADA, BO):
        answer = world.client.post("/preferences", data={"email": address})
        assert "If your address is subscribed" in answer.text
        for page in (form, answer.text):
            assert "The next edition will have this link" in page
            assert "every edition." not in page, "links of earlier editions may be outdated"
    assert answered(world) == {SignupReplyKind.LINK: 1, SignupReplyKind.NOTHING: 1}
    (mail,) = mailed(world)
    assert f"To: {ADA}" in mail
    assert f"/preferences/{world.token('preferences')}" in mail


def test_a_mail_that_waits_is_withdrawn_when_its_subscriber_leaves_first(world: Any) -> None:
    world.client.post("/subscribe", data=form_for(ADA))
    assert answered(world) == {SignupReplyKind.KNOWN: 1}
    world.client.post(f"/u/{world.token('leave')}")
    assert mailed(world) == []
    with world.database.read() as session:
        assert session.scalars(select(Delivery.state)).all() == [DeliveryState.WITHDRAWN]
    assert count(world, QueuedNoticeEmail) == 0


def test_a_log_of_a_sign_up_holds_no_address(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    link = asked_link(world)
    world.client.post(link)
    output = "".join(capsys.readouterr())
    assert "/confirm/<token>" in output
    for clear in ("peep", "county.example", link.rpartition("/")[2]):
        assert clear not in output


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("fri 06:00", "Fridays"),
        ("mon,thu 06:00", "Mondays and Thursdays"),
        ("mon,wed,fri 06:00", "Mondays, Wednesdays, and Fridays"),
        ("daily 06:00", "every day"),
        ("every 5m", "as it comes"),
    ],
)
def test_the_heading_says_when_the_mail_comes(rule: str, words: str) -> None:
    assert describe_release_days(parse_schedule_rule(rule)) == words


def test_the_embedding_guide_shows_a_form_that_works(world: Any) -> None:
    guide = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    form = guide[guide.index("<form") : guide.index("</form>")]
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    (field,) = re.findall(r'type="email" name="(\w+)"', form)
    answer = world.client.post("/subscribe", data={**hidden, field: BO})
    assert answer.status_code == 200
    assert answered(world) == {SignupReplyKind.CONFIRM: 1}


def test_a_likely_typo_in_the_domain_is_asked_about_once(world: Any) -> None:
    form = form_for("bo.peep@gmial.com") | {"form": "embedded"}
    asked = world.client.post("/subscribe", data=form)
    assert asked.status_code == 400
    assert "Did you mean gmail.com?" in asked.text
    assert 'value="bo.peep@gmial.com"' in asked.text
    assert asked.headers["Cache-Control"] == "no-store"
    assert count(world, SignupRequest) == 0
    hidden = dict(re.findall(r'<input type="hidden" name="(kept|form)" value="([^"]*)">', asked.text))
    assert hidden == {"kept": "gmial.com", "form": "embedded"}
    other = world.client.post("/subscribe", data=form_for("bo.peep@gnail.com") | hidden)
    assert (other.status_code, "Did you mean gmail.com?" in other.text) == (400, True), (
        "another slip is asked about, too"
    )
    assert world.client.post("/subscribe", data=form | hidden).status_code == 200
    assert world.client.post("/subscribe", data=form_for("bo.peep@gmail.com") | hidden).status_code == 200
    assert count(world, SignupRequest) == 2


def test_a_likely_typo_is_asked_about_where_a_link_is_requested(world: Any) -> None:
    asked = world.client.post("/preferences", data={"email": "bo.peep@gmial.com"})
    assert (asked.status_code, "Did you mean gmail.com?" in asked.text) == (400, True)
    assert 'value="bo.peep@gmial.com"' in asked.text
    assert count(world, SignupRequest) == 0
    assert (
        world.client.post("/preferences", data={"email": "bo.peep@gmial.com", "kept": "gmial.com"}).status_code == 200
    )


@pytest.mark.parametrize("domain", ["gmail.com", "county.example", "mail.com", "gmx.net"])
def test_a_domain_that_is_right_is_not_asked_about(world: Any, domain: str) -> None:
    assert world.client.post("/subscribe", data=form_for(f"bo@{domain}")).status_code == 200


def test_a_name_before_the_at_sign_has_64_characters_at_most(world: Any) -> None:
    assert world.client.post("/subscribe", data=form_for(f"{'a' * 64}@county.example")).status_code == 200
    refused = world.client.post("/subscribe", data=form_for(f"{'a' * 65}@county.example"))
    assert refused.status_code == 400
    assert "The part before the @ is longer than 64 characters." in refused.text

"""Breaking news in pages: the form that drafts it, and the page that sends it now."""

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from digest.app.sending import send_control as sending
from digest.app.subscribers import subscriber_views
from digest.collect.documents.parsed_document import DateBasis
from digest.deliver.control import installation_hold
from digest.installation.opened_installation import Installation
from digest.settings import PreferenceSettings
from digest.store.models import Article, Edition, EditionState
from digest.store.schedule_slots import find_or_record_schedule_start
from digest.web.app import create_app
from digest.web.desk.outline.story_pool import story_anchor
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store.models import Person
from tests.actors import ADMIN
from tests.deliver.many_subscribers import add_many_subscribers
from tests.moments import DRAFTING, Clock
from tests.sent_emails import plain_text, read_folder
from tests.web.desk.sample_week import SampleWeek, later

PATH = "/desk/breaking-news"


def add_recipients(week: SampleWeek, count: int = 3) -> None:
    """Put people on the list who get breaking news, and one who doesn't."""
    evidence = ConsentEvidence(
        wording="Yes.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="form",
        actor="test",
        agreed_at=DRAFTING - timedelta(days=100),
    )
    addresses = [f"reader{number}@example.org" for number in range(count + 1)]
    with week.installation.database.write() as session:
        numbers = add_many_subscribers(session, week.installation.keys, addresses, evidence=evidence, now=DRAFTING)
        for number in numbers[:count]:
            change_preferences(session, number, Preferences(breaking_news=True), DRAFTING)


def suggestions(page: str) -> list[str]:
    """Give the URLs of the suggested stories that aren't on the publication's own site."""
    urls = re.findall(r'name="story" value="([^"]+)"', page)
    return [url for url in urls if "hls.today" not in url]


def draft(client: FlaskClient) -> str:
    """Draft breaking news of the newest story; give its page."""
    answer = client.post(PATH, data={"story": suggestions(client.get(PATH).text)[0]})
    assert answer.status_code == 303
    return str(answer.headers["Location"])


def approve(client: FlaskClient, path: str) -> str:
    """Approve what the review page shows; give where that leads."""
    page = client.get(f"{path}/approve").text
    mark = re.search(r'name="mark" value="(\w+)"', page)
    assert mark
    answer = client.post(f"{path}/approve", data={"mark": mark[1]})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def send_now(client: FlaskClient, path: str) -> TestResponse:
    """Press the button of the page that sends it."""
    mark = re.search(r'name="mark" value="(\w*)"', client.get(f"{path}/send-now").text)
    assert mark
    return client.post(f"{path}/send-now", data={"mark": mark[1]})


def test_stories_are_chosen_or_typed_and_a_mistake_keeps_them(week: SampleWeek) -> None:
    client = week.client()
    shown = client.get(PATH).text
    first, second = suggestions(shown)[:2]
    refused = client.post(PATH, data={"story": first, "urls": "the levee"})
    assert refused.status_code == 409
    assert "This isn’t a URL." in unescape(refused.text)
    assert f'value="{first}" checked' in refused.text
    assert ">the levee</textarea>" in refused.text
    answer = client.post(PATH, data={"story": first, "urls": f"{second}\n"})
    page = client.get(answer.headers["Location"]).text
    assert "Breaking news 2026-W47-2" in page
    assert "No. 0" not in page
    assert "Breaking news for <b>0 subscribers</b>" in page
    assert "2026-W47-2, draft" in client.get(PATH).text
    assert "No. 147" in client.get("/desk/").text
    # Sections without stories aren't part of it.
    assert re.findall(r'id="section-([\w-]+)"', page) == ["featured"]
    # A story of an edition can be chosen there.
    featured = week.state.arrangement.sections["featured"][0]
    anchor = story_anchor(featured.url)
    menu = client.get(f"{week.path}?panel=more&about={anchor}").text
    (query,) = re.findall(rf'href="{PATH}([^"]+story={anchor})">Send as breaking news…', menu)
    assert f">{featured.original.lead.link}</textarea>" in client.get(f"{PATH}{unescape(query)}").text


def test_another_editor_approves_and_it_is_sent_on_someones_word(week: SampleWeek) -> None:
    add_recipients(week)
    dana, sam = week.client(), week.client("sam")
    path = draft(dana)
    waiting = dana.get(f"{path}/send-now").text
    assert "<h1>Send to 3 subscribers now?</h1>" in waiting
    assert '<button class="btn go" type="submit" disabled aria-describedby="needs">Send now to 3 subscribers' in waiting
    assert "Breaking news 2026-W47-2 is a draft. It can be sent once it’s approved." in unescape(waiting)
    assert dana.post(f"{path}/send-now").status_code == 409
    # One press after approving sends nothing: the edition leads to the page that asks.
    assert approve(sam, path) == path
    assert f'href="{path}/send-now">Send now…</a>' in sam.get(path).text
    ready = sam.get(f"{path}/send-now").text
    recalled, button = (
        ready.index("Breaking news can\u2019t be recalled."),
        ready.index("Send now to 3 subscribers</button>"),
    )
    assert recalled < button
    assert "disabled" not in ready[recalled:button]
    assert "1 who didn\u2019t choose breaking news and 0 who paused" in ready
    name = path.rpartition("/")[2]
    answer = send_now(sam, path)
    assert answer.headers["Location"] == f"{path}/sending"
    sending_page = sam.get(f"{path}/sending").text
    assert "It will be sent once an admin sends it, because automatic sending is off." in sending_page
    assert "Sam chose to send it now, to 3 subscribers" in sending_page
    # Once is enough: the page leads on, and a second press changes nothing.
    assert sam.get(f"{path}/send-now").headers["Location"] == f"{path}/sending"
    assert dana.post(f"{path}/send-now").status_code == 303
    with week.installation.database.read() as session:
        row = session.scalars(select(Edition).where(Edition.name == name)).one()
    assert row.state == EditionState.APPROVED
    assert row.send_requested_at is not None


def test_its_pages_say_when_it_is_sent(week: SampleWeek) -> None:
    add_recipients(week)
    dana, sam = week.client(), week.client("sam")
    path = draft(dana)

    def read(page: str) -> str:
        return " ".join(re.sub("</?b>", "", dana.get(page).text).split())

    on_word = "when someone chooses “Send now”"
    assert f"Breaking news for 3 subscribers, sent {on_word}, once it’s approved." in read(path)
    assert f"will be sent to 3 subscribers {on_word}, once it’s approved." in read(f"{path}/approve")
    approve(sam, path)
    assert f"Breaking news for 3 subscribers, sent {on_word}. " in read(path)
    assert f"{path}/send-now" in read(path)
    send_now(sam, path)
    by_hand = "once an admin sends it, because automatic sending is off."
    assert f"Breaking news for 3 subscribers, sent {by_hand} " in read(path)
    assert f"It will be sent {by_hand}" in read(f"{path}/sending")
    find_or_record_schedule_start(week.installation.database, later())
    assert "Breaking news for 3 subscribers, sent within a minute. " in read(path)
    assert "It will be sent within a minute." in read(f"{path}/sending")
    assert "will be sent to 3 subscribers within a minute." in read(f"{path}/approve")
    with week.installation.database.write() as session:
        installation_hold.pause_all_sending(session, "a test", actor=ADMIN.name, now=later())
    assert "Breaking news for 3 subscribers, sent once sending resumes. " in read(path)
    with week.installation.database.write() as session:
        installation_hold.resume_all_sending(session)
    assert on_word not in read(path) + read(f"{path}/approve")
    assert f"{path}/send-now" not in read(path)
    sending.pause_edition(week.installation, path.rpartition("/")[2], reason="", actor=ADMIN, now=later())
    assert "Breaking news for 3 subscribers, sent once sending resumes. " in read(path)


def test_an_article_of_an_earlier_day_is_named_as_old(week: SampleWeek) -> None:
    client = week.client()
    suggested = suggestions(client.get(PATH).text)
    with week.installation.database.write() as session:
        articles = session.scalars(select(Article).where(Article.url.in_(suggested)))
        article = next(a for a in articles if not DateBasis(a.date_basis).is_first_seen)
        article.dated_at = DRAFTING - timedelta(days=400)
        url = article.url
    path = client.post(PATH, data={"urls": url}).headers["Location"]
    assert "is from Oct 15, 2025, more than a day before this edition." in client.get(f"{path}/approve").text


def test_only_the_version_that_was_on_the_page_is_sent(week: SampleWeek) -> None:
    add_recipients(week)
    dana, sam = week.client(), week.client("sam")
    path = draft(dana)
    approve(sam, path)
    refused = sam.post(f"{path}/send-now", data={"mark": "0123456789"})
    assert refused.status_code == 409
    assert (
        "Another version was approved since you opened this page. Check the new version before you send it."
        in refused.text
    )
    assert send_now(sam, path).status_code == 303


def test_a_regular_edition_has_no_such_page(week: SampleWeek) -> None:
    client = week.client()
    assert "is a regular edition" in client.get(f"{week.path}/send-now").text
    assert client.post(f"{week.path}/send-now").status_code == 409
    assert "send-now" not in client.get(week.path).text


@pytest.mark.parametrize("page", ["", "/approve", "/history", "/sending", "/preview", "/test"])
def test_no_page_of_it_names_a_number_that_it_does_not_have(week: SampleWeek, page: str) -> None:
    client = week.client()
    shown = client.get(draft(client) + page)
    assert shown.status_code == 200
    assert "Breaking news 2026-W47-2" in shown.text
    assert "No. 0" not in shown.text


def test_its_web_page_says_what_it_is_and_the_archive_goes_on_without_it(week: SampleWeek, clock: Clock) -> None:
    add_recipients(week)
    path = draft(week.client())
    approve(week.client("sam"), path)
    name = path.rpartition("/")[2]
    assert send_now(week.client(), path).status_code == 303
    sending.send_edition(week.installation, name, actor=ADMIN, clock=clock)
    reader = week.app.test_client()
    page = reader.get(f"/editions/{name}").text
    (heading,) = re.findall(r"<h1[^>]*>(.*?)</h1>", page)
    assert heading.startswith("Breaking&nbsp;news\xa0· ")
    assert "No. 0" not in page
    for listed in ("/", "/editions", "/feed.atom", "/sitemap.xml", "/search?q=port"):
        assert name not in reader.get(listed).text
    assert "Breaking news 2026-W47-2" in week.client().get("/desk/sent").text
    assert "3 of 3 accepted" in week.client().get(f"{path}/sending").text


def test_every_page_of_the_desk_leads_to_what_is_not_sent_yet(week: SampleWeek) -> None:
    add_recipients(week)
    dana, sam = week.client(), week.client("sam")
    path = draft(dana)
    banner = f'Breaking news, draft and not sent yet: <a href="{path}/approve">'
    for other in ("/desk/", "/desk/sources", "/desk/calendar"):
        assert banner in sam.get(other).text
    for own in (PATH, path, f"{path}/approve"):
        assert banner not in sam.get(own).text
    approve(sam, path)
    assert banner.replace("draft", "approved").replace("/approve", "/send-now") in dana.get("/desk/").text
    send_now(dana, path)
    assert "not sent yet" not in dana.get("/desk/").text


def test_while_it_is_turned_off_the_pages_say_so_and_nothing_can_be_sent(
    week: SampleWeek, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_views, "MIN_CACHED_SECONDS", -1.0)  # as if counting took long
    add_recipients(week)
    client, settings = week.client(), week.installation.settings
    path = draft(client)
    approve(week.client("sam"), path)
    off = settings.file.model_copy(update={"preferences": PreferenceSettings(breaking_news="off")})
    installation = Installation(settings.model_copy(update={"file": off}), week.installation.database)
    app = create_app(installation, clock=later)
    app.config["WTF_CSRF_ENABLED"] = False
    closed = replace(week, installation=installation, app=app).client()
    assert "Breaking news is turned off." in closed.get(PATH).text
    assert "Send now to 3 subscribers" in client.get(f"{path}/send-now").text
    refused = closed.post(f"{path}/send-now")
    assert refused.status_code == 409
    assert "Breaking news is turned off. An admin can offer it under Settings → Preferences." in refused.text
    assert 'disabled aria-describedby="needs">Send now to 0 subscribers' in refused.text
    assert "Breaking news is turned off." not in client.get(PATH).text


def test_every_email_can_turn_off_breaking_news_alone(week: SampleWeek, clock: Clock) -> None:
    add_recipients(week)
    path = draft(week.client())
    approve(week.client("sam"), path)
    send_now(week.client(), path)
    sending.send_edition(week.installation, path.rpartition("/")[2], actor=ADMIN, clock=clock)
    emails = read_folder(week.installation.settings.outbox_folder / "edition")
    assert len(emails) == 3
    for email in emails:
        assert email["List-Unsubscribe"]
        assert email["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        html = email.get_body(("html",))
        assert html is not None
        (link,) = set(re.findall(r"https://news\.example\.org(/preferences/[\w-]+/breaking-news)", plain_text(email)))
        assert link in html.get_content()
    reader = week.app.test_client()
    assert 'method="post"' in reader.get(link).text
    assert chosen_by(week) == [True] * 3, "a GET changed something"
    assert reader.post(link).status_code == 200
    assert sorted(chosen_by(week)) == [False, True, True]


def chosen_by(week: SampleWeek) -> list[bool]:
    """Tell of the people who are emailed whether each gets breaking news, without the one who never chose it."""
    with week.installation.database.read() as session:
        people = session.scalars(select(Person).order_by(Person.number)).all()
    return [Preferences.from_stored(person.choices).breaking_news for person in people][:3]

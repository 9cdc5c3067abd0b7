"""An edition's page: its stories with sources and anchors, its metadata, card, and corrections."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from jinja2 import Environment
from lxml import html as lxml_html
from PIL import Image
from sqlalchemy import update

from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionForm
from digest.app.editions import web_editions
from digest.app.editions.edition_checks import build_preflight_input
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approvers import ApproverRule
from digest.edition.content.edition_content import EditionContent
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.store.models import BREAKING_NEWS_NUMBER, Edition, EditionState
from digest.web.app import create_app
from digest.web.filters import install_subscriber_filters
from subscribers.subscriber_language import ENGLISH
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.web.conftest import ALSO_REPORTED_BY, BASE_URL, sign_as_sent

NAME = "2026-W47"
HEADLINE = "Ports get ten days to check the remote links on their cranes"
ACTOR = Actor("terminal:eve", Role.EDITOR, ActionEntryPoint.TERMINAL)


def page_of(world: Any, path: str = f"/editions/{NAME}") -> Any:
    answer = world.client.get(path)
    assert answer.status_code == 200
    return lxml_html.document_fromstring(answer.text)


def read_linked_data(page: Any) -> Any:
    """Return what the page's JSON-LD describes: the issue first."""
    (script,) = page.xpath("//script[@type='application/ld+json']")
    data = json.loads(script.text)
    assert data["@context"] == "https://schema.org"
    return data["@graph"]


def sent_week(world: Any) -> None:
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    world.edition(state=EditionState.SENT)


def test_every_link_into_the_page_leads_to_a_story_and_the_mails_to_its_sources(world: Any) -> None:
    sent_week(world)
    page = page_of(world)
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    inside = [href[1:] for href in page.xpath("//a/@href") if href.startswith("#")]
    assert len(inside) >= 5
    assert set(inside) <= set(ids)
    mail = lxml_html.document_fromstring(world.client.get(f"/editions/{NAME}/as-sent").text)
    (anchor,) = mail.xpath("//p[starts-with(@id, 'sources-')]/@id")
    sources = page.xpath(f"//*[@id='{anchor}']//li/a")
    assert [a.text_content() for a in sources] == [HEADLINE, *ALSO_REPORTED_BY]
    assert page.xpath("//main//@style") == []
    assert not {"~leave-token~", "~preferences-token~"} & set(page.text_content().split())


def test_the_page_leads_to_the_editions_before_and_after_it_and_to_the_list_at_top_and_end(world: Any) -> None:
    sent_week(world)
    after = create_app(world.install, clock=lambda: RELEASE + timedelta(1)).test_client()
    page = lxml_html.document_fromstring(after.get(f"/editions/{NAME}").text)
    assert page.xpath("//link[@rel='prev']/@href") == ["/editions/2026-W46"]
    assert "Next: No. 148, on November 27" in page.text_content().replace("\xa0", " ")
    assert page_of(world, "/editions/2026-W46").xpath("//link[@rel='next']/@href") == [f"/editions/{NAME}"]
    forms = page.xpath("//main//form[@action='/subscribe']")
    assert len(forms) == 1
    fields = dict.fromkeys(forms[0].xpath(".//input/@name"), "") | {"email": "new@county.example"}
    assert "email you a link that works" in world.client.post("/subscribe", data=fields).text


def test_what_the_page_says_of_itself_is_whole_and_names_public_addresses(world: Any) -> None:
    sent_week(world)
    page = page_of(world)
    said = {m.get("name") or m.get("property"): m.get("content") for m in page.xpath("//meta[@content]")}
    address = f"{BASE_URL}/editions/{NAME}"
    assert page.xpath("//link[@rel='canonical']/@href") == [address]
    assert (said["og:title"], said["og:url"]) == (HEADLINE, address)
    assert page.findtext(".//title") == HEADLINE, "with the issue's name it would be longer than search engines show"
    assert said["description"].startswith("HLS.Today No. 147, November 20, 2026. Also: 41,000 homes")
    data, site, way, event = read_linked_data(page)
    assert (site["@type"], site["url"], site["name"]) == ("WebSite", f"{BASE_URL}/", "HLS.Today")
    assert "potentialAction" not in site, "robots.txt closes the search"
    assert way["@type"] == "BreadcrumbList"
    assert [(item["position"], item["item"]) for item in way["itemListElement"]] == [
        (1, f"{BASE_URL}/"),
        (2, f"{BASE_URL}/editions"),
        (3, address),
    ]
    assert event == {
        "@type": "Event",
        "name": "Port resilience exercise, open to observers",
        "url": f"https://events.example/{NAME}",
        "startDate": "2026-12-03",
        "location": {"@type": "Place", "name": "Long Beach", "address": "Long Beach"},
        "description": "Free for observers.",
    }
    assert (data["@type"], data["issueNumber"], data["url"]) == ("PublicationIssue", "147", address)
    assert data["datePublished"] == "2026-11-20T06:00:00-05:00"
    ids = page.xpath("//@id")
    assert [part["url"].partition("#")[2] in ids for part in data["hasPart"]] == [True] * 6
    assert len(data["hasPart"][0]["citation"]) == 1 + len(ALSO_REPORTED_BY)


def test_the_page_says_whose_it_is_how_to_write_to_them_and_how_to_share_it(world: Any) -> None:
    sent_week(world)
    page = page_of(world)
    shared = f"{BASE_URL}/editions/{NAME}"
    links = {
        a.text_content(): a.get("href") for a in page.xpath("//article[@class='lead']//p[contains(@class, 'shares')]/a")
    }
    assert list(links) == ["Email", "LinkedIn", "Facebook", "Bluesky"]
    assert all(quote(shared, safe="") in href for href in links.values())
    assert links["Email"].startswith("mailto:?subject=HLS.Today%20No.%20147&body=")
    about, contact = (page.xpath(f"//section[@aria-labelledby='{name}']")[0] for name in ("about", "line"))
    assert "HLS.Today covers" in about.text_content()
    assert "so there’s no consent banner" in about.text_content()
    assert contact.xpath("./h2/text()") == ["Write to us"]
    assert contact.xpath(".//a/@href") == ["/contact"]
    order = [h.text_content().replace("\xa0", " ") for h in page.xpath("//main//h2")]
    assert order[-3:] == ["Get HLS.Today by email", "About HLS.Today", "Write to us"]


def test_breaking_news_has_no_issue_number(world: Any) -> None:
    world.edition(state=EditionState.SENT, number=0)
    with world.database.write() as session:
        edition = find_edition(session, NAME)
        edition.content = {**edition.content, "number": 0}
        sign_as_sent(session, edition, world.install)
    data = read_linked_data(page_of(world))[0]
    assert data["@type"] == "PublicationIssue"
    assert "issueNumber" not in data


def test_a_story_cannot_end_the_data_in_the_head(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    with world.database.write() as session:
        edition = find_edition(session, NAME)
        content = json.loads(json.dumps(edition.content).replace(HEADLINE, "</script><script>alert(1)</script>"))
        edition.content = content
        sign_as_sent(session, edition, world.install)
    page = page_of(world)
    assert len(page.xpath("//script")) == 1
    data = read_linked_data(page)[0]
    assert data["hasPart"][0]["name"] == "</script><script>alert(1)</script>"


def test_the_pieces_of_the_page_are_among_what_approval_signs(world: Any) -> None:
    world.edition()
    with world.database.read() as session:
        edition = find_edition(session, NAME)
        draft = approval.read_draft_version(session, edition, world.install.settings)
    stated = approval.build_approval_statement(draft, edition, ApproverRule(1, (), (), ()))["fragments"]
    pages = {piece.name: piece.body for piece in draft.pieces if piece.kind == "page"}
    assert list(pages) == ["top", "lead", "contents", "body"]
    assert [entry for entry in stated if entry[0] == "page"] == [
        ["page", name, approval.hash_fragment(body)] for name, body in pages.items()
    ]


def test_a_correction_stands_at_the_top_and_at_its_story_and_the_page_is_newer_for_it(world: Any) -> None:
    sent_week(world)
    before = world.client.get(f"/editions/{NAME}")
    later = datetime(2026, 11, 22, 15, tzinfo=UTC)
    right = "Ports get thirty days to check the remote links on their cranes"
    form = CorrectionForm(f"https://cisa.example/{NAME}/cranes", "headline", right, "The notice says thirty.")
    corrections.correct_story(world.install, NAME, form, actor=ACTOR, now=later)
    after = world.client.get(f"/editions/{NAME}")
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.headers["Last-Modified"] == "Sun, 22 Nov 2026 15:00:00 GMT"
    page = lxml_html.document_fromstring(after.text)
    (story,) = page.xpath("//article[@class='lead']")
    assert story.xpath("./h2//del/text() | ./h2//ins/text()") == [HEADLINE, right]
    assert [p.text_content() for p in story.xpath("./p[@class='corr']")] == [
        "Corrected November 22, 2026, HLS.Today. The notice says thirty."
    ]
    (at_top,) = page.xpath("//div[@class='corr']")
    assert at_top.xpath(".//a/@href") == [f"#{story.get('id')}", f"/editions/{NAME}/as-sent"]
    assert HEADLINE not in page.xpath("string(//nav[@class='toc'])"), "it's right above"
    row, right = "Two land crossings open a second face-matching lane", "Two land crossings open a third lane"
    form = CorrectionForm(f"https://cbp.example/{NAME}", "headline", right, "A third one.")
    corrections.correct_story(world.install, NAME, form, actor=ACTOR, now=later)
    page = page_of(world)
    assert page.xpath("//nav[@class='toc']//ins/text()") == [right]
    assert page.xpath("//nav[@class='toc']//del/text()") == [row]


def test_the_card_is_drawn_once_kept_as_a_picture_and_named_by_the_page(world: Any) -> None:
    sent_week(world)
    assert "og:image:width" not in world.client.get(f"/editions/{NAME}").text, "the lead's picture stands in"
    for _ in range(2):
        web_editions.store_social_card(world.install, NAME, now=NOW)
    address = page_of(world).xpath("//meta[@property='og:image']/@content")[0]
    answer = world.client.get(address.removeprefix(BASE_URL))
    assert answer.mimetype == "image/png"
    card = Image.open(io.BytesIO(answer.data)).convert("RGB")
    assert card.size == (1200, 630)
    assert card.getpixel((600, 5)) != card.getpixel((400, 100)), "the bar is ink, the ground is paper"
    with world.database.read() as session:
        content = EditionContent.from_json(find_edition(session, NAME).content)
    words = web_editions.build_card_request(content, "HLS.Today", world.install.settings).words
    assert words.headline == HEADLINE
    assert words.deadline == "Next deadline: December 4"


def test_whoever_cannot_see_the_card_is_told_what_its_picture_shows(world: Any) -> None:
    sent_week(world)
    web_editions.store_social_card(world.install, NAME, now=NOW)
    (alt,) = page_of(world).xpath("//meta[@property='og:image:alt']/@content")
    (described,) = page_of(world).xpath("//article[@class='lead']//img/@alt")
    assert described
    assert alt.endswith(f". Image: {described}")


def test_card_and_preflight_write_the_day_of_an_edition_in_the_subscribers_language(world: Any) -> None:
    world.edition()
    file = world.install.settings.file
    publication = file.publication.model_copy(update={"language": "fr"})
    settings = world.install.settings.model_copy(update={"file": file.model_copy(update={"publication": publication})})
    installation = Installation(settings, world.database)
    with world.database.read() as session:
        edition = find_edition(session, NAME)
        facts = build_preflight_input(installation, session, edition, now=NOW)
        content = EditionContent.from_json(edition.content)
    assert facts.send_day == settings.subscriber_language.weekday_date(RELEASE.date())
    dates = [entry.when for section in content.sections for entry in section.entries if entry.when]
    (deadline,) = (when for when in dates if when.kind == "deadline")
    french = replace(deadline, text=settings.subscriber_language.weekday_month_day(deadline.day))
    sections = tuple(
        replace(s, entries=tuple(replace(e, when=french) if e.when == deadline else e for e in s.entries))
        for s in content.sections
    )
    words = web_editions.build_card_request(replace(content, sections=sections), "Vigie", settings).words
    assert (words.issue, words.deadline) == ("Nº 147 · 20 novembre 2026", "Prochaine échéance : 4 décembre")


def test_a_card_that_cannot_be_set_is_none_and_the_page_does_without(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    with world.database.write() as session:
        edition = find_edition(session, NAME)
        content = json.loads(json.dumps(edition.content).replace("Ports get", "\\u6e2f get"))
        session.execute(update(Edition).values(content=content))
    web_editions.store_social_card(world.install, NAME, now=NOW)
    assert "og:image:width" not in world.client.get(f"/editions/{NAME}").text


def test_breaking_news_has_no_number_in_pages() -> None:
    environment = Environment()
    install_subscriber_filters(environment, lambda: ENGLISH, lambda: ZoneInfo("UTC"))
    write = environment.filters["issue"]
    assert (write(147), write(BREAKING_NEWS_NUMBER)) == ("No. 147", "breaking news")

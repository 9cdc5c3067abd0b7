"""The final bytes in every view: as subscribers of some sections get them, as read aloud, and their size."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from html import unescape
from zoneinfo import ZoneInfo

import pytest

from digest.app.editions import drafting as editions
from digest.app.editions.edition_views import read_edition
from digest.deliver.compose.variants import create_variants, format_signup_text
from digest.edition.approval.approved_versions import read_draft_version
from digest.edition.content.edition_content import EditionContent, EditionSection, SectionEntry
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT
from digest.edition.edition_queries import find_edition
from digest.web.desk.editing.page_query import read_page_query
from digest.web.desk.edition.preview_pages import NO_DESCRIPTION, SpokenPassage, list_spoken_passages
from digest.web.desk.edition.previews import LINKED_SANDBOX, PREVIEW_MODES, MailSize
from digest.web.desk.outline.preview_anchors import insert_preview_anchors, list_preview_anchors
from digest.web.desk.outline.story_pool import story_anchor
from subscribers.consent.preferences import Preferences, change_preferences
from tests.deliver.many_subscribers import add_many_subscribers
from tests.moments import DRAFTING as NOW
from tests.web.conftest import sample_evidence
from tests.web.desk.sample_week import SampleWeek, unmarked

CONTENT = EditionContent(
    "2026-W47", 147, "Subject", "", "Friday, November 20, 2026", 1, "", "", (), released_on=date(2026, 11, 20)
)


def test_a_preview_without_sections_is_the_mail_of_a_subscriber_who_left_them_out(week: SampleWeek) -> None:
    with week.installation.database.read() as session:
        edition = find_edition(session, week.name)
        settings = week.installation.settings
        variants = create_variants(read_draft_version(session, edition, settings), settings)
    mail = variants.template_for(Preferences(omit=frozenset({"events", "topics"})))
    assert mail is not None
    shown = week.client().get(f"/desk/preview/{week.name}/text?omit=events&omit=topics").text
    language = settings.subscriber_language
    origin = format_signup_text(datetime(2026, 3, 4, tzinfo=UTC), "your sign-up page", ZoneInfo("UTC"), language)
    filled = mail.text.fill({SIGNUP_SLOT: origin, LEAVE_SLOT: "SAMPLE", PREFERENCES_SLOT: "SAMPLE"})
    assert origin in filled
    assert shown == filled
    assert len(shown) < len(week.client().get(f"/desk/preview/{week.name}/text").text)


def test_the_preview_page_keeps_the_sections_in_every_view(week: SampleWeek) -> None:
    page = week.client().get(f"{week.path}/preview?view=dark&omit=events").text
    assert f'src="/desk/preview/{week.name}/dark?omit=events"' in page
    for view in PREVIEW_MODES:
        assert f"/preview?view={view.key}&amp;omit=events" in page
    assert re.search(r'value="events" checked', page)


def add_subscriber(week: SampleWeek, chosen: Preferences) -> None:
    with week.installation.database.write() as session:
        addresses = ["reader@readers.example"]
        keys, evidence = week.installation.keys, sample_evidence()
        (number,) = add_many_subscribers(session, keys, addresses, evidence=evidence, now=NOW)
        change_preferences(session, number, chosen, NOW)


def test_the_variants_that_subscribers_chose_are_listed_and_lead_to_their_previews(week: SampleWeek) -> None:
    add_subscriber(week, Preferences(short=True))
    page = week.client().get(f"{week.path}/preview?variants=yes").text
    subscribers = re.findall(r">(The [^<]+)</a>: ([\d,]+) subscribers?<", page)
    assert subscribers
    assert f"is sent in {len(subscribers)} variant" in page
    assert "View variants by preferences" in week.client().get(f"{week.path}/preview").text


def test_a_variant_without_topics_is_listed_by_their_titles_and_leads_to_its_preview(week: SampleWeek) -> None:
    page = week.client().get(f"{week.path}/preview").text
    topics = re.findall(r'name="omit" value="topics:([a-z-]+)"> ([^<]+)</label>', page)
    assert len(topics) > 3
    (key, title), *_ = topics
    add_subscriber(week, Preferences(omit_topics=frozenset({key})))
    page = unescape(week.client().get(f"{week.path}/preview?variants=yes").text)
    (link,) = re.findall(rf'href="([^"]+)">The full edition\s+without {title}</a>: 1 subscriber', page)
    assert f"omit=topics:{key}" in link.replace("%3A", ":")
    shown = unescape(week.client().get(link).text)
    assert f", without {title}." in shown
    assert re.search(rf'value="topics:{key}" checked', shown)
    (frame,) = re.findall(r'<iframe[^>]* src="([^"]+)"', shown)
    assert f">{title}</h3>" in week.client().get(f"/desk/preview/{week.name}/phone").text
    assert f">{title}</h3>" not in week.client().get(frame).text


def test_the_inbox_of_a_variant_shows_its_preheader(week: SampleWeek) -> None:
    inbox = f"/desk/preview/{week.name}/inbox"
    whole, without = (unescape(week.client().get(f"{inbox}{query}").text) for query in ("", "?omit=featured"))
    assert week.headlines("featured")[1][:30] in whole
    assert week.headlines("featured")[1][:30] not in without
    assert "Also: " in without


def test_a_subscriber_who_left_everything_out_gets_no_mail(week: SampleWeek) -> None:
    keys = re.findall(r'name="omit" value="([^"]+)"', week.client().get(f"{week.path}/preview").text)
    assert len(keys) > 3
    page = week.client().get(f"{week.path}/preview?" + "&".join(f"omit={key}" for key in keys)).text
    assert "don\u2019t get this edition" in page
    assert "<iframe" not in page


def test_an_unknown_section_or_view_is_the_whole_mail_on_a_phone(week: SampleWeek) -> None:
    page = week.client().get(f"{week.path}/preview?view=nonsense&omit=nonsense").text
    assert f'src="/desk/preview/{week.name}/phone"' in page


def test_the_mail_is_read_aloud_in_order(week: SampleWeek) -> None:
    html = week.client().get(f"/desk/preview/{week.name}/phone").text
    passages = list_spoken_passages(html)
    headings = [p.text for p in passages if any(r.startswith("heading") for r in p.roles)]
    placed = [headings.index(h) for h in week.headlines("featured")]
    assert placed == sorted(placed)
    assert passages[0].roles == ("heading level 1",)
    assert not any("table" in p.roles for p in passages), "a table of the layout is announced"
    assert not any(p.text == NO_DESCRIPTION for p in passages)
    page = week.client().get(f"{week.path}/preview?view=aloud").text
    assert page.count("<li>") >= len(passages)


@pytest.mark.parametrize(
    ("html", "spoken"),
    [
        ("<h2>A <a href='https://x.example'>link</a> here</h2>", "heading level 2: A / heading level 2, link: link / heading level 2: here"),
        ("<p>One<br>line &amp; <b>bold</b></p><p>Two</p>", "One line & bold / Two"),
        ("<img src=a.png alt='A crane'><img src=b.png alt=''><img src=c.png>", f"image: A crane / image: {NO_DESCRIPTION}"),
        ("<div style='display: none'>silent <p>also</p></div><p aria-hidden=true>too</p>loud", "loud"),
        ("<title>no</title><style>p{}</style><!--[if mso]>no<![endif]-->yes", "yes"),
        ("<table role=presentation><tr><td>a</td><td>b</td></tr></table><table><tr><td>c</table>", "a / b / table: c"),
        ("</p>stray <b>unclosed", "stray unclosed"),
        ("<a href=x>A</a>, <a href=y>B</a> and", "link: A / link: B / and"),
        ("&nbsp;&#847;&zwnj; \u200b", ""),
    ],
)  # fmt: skip
def test_a_voice_speaks_what_is_there(html: str, spoken: str) -> None:
    assert " / ".join(map(as_text, list_spoken_passages(html))) == spoken


def as_text(passage: SpokenPassage) -> str:
    return f"{', '.join(passage.roles)}: {passage.text}" if passage.roles else passage.text


def test_the_size_says_when_gmail_would_cut_the_mail() -> None:
    light, heavy, over = MailSize(51 * 1024), MailSize(85 * 1024), MailSize(103 * 1024)
    assert (light.tone, heavy.tone, over.tone) == ("ok", "warn", "bad")
    assert light.sentence == "51 KB. Gmail hides everything after 102 KB."
    assert "unsubscribe link" in over.sentence
    assert (light.share, over.share) == (50.0, 100.0)


def test_the_edition_page_leads_to_every_way_of_looking(week: SampleWeek) -> None:
    page = week.client().get(week.path).text
    assert "Gmail hides everything after 102 KB" in page
    for path in (f"/desk/preview/{week.name}/phone", f"{week.path}/preview?view=aloud", f"{week.path}/history"):
        assert f'href="{path}"' in page


def test_the_edition_page_shows_the_mail_of_a_subscriber_who_left_sections_out_and_keeps_that_in_its_links(
    week: SampleWeek,
) -> None:
    page = week.client().get(f"{week.path}?omit=events&omit=topics&omit=<b>").text
    assert f'src="/desk/preview/{week.name}/phone?omit=topics&amp;omit=events&amp;edit=yes"' in page
    assert "<summary>Without Topics, Events</summary>" in page
    assert 'value="events" checked' in page
    assert f'href="{week.path}?tab=preview&amp;view=dark&amp;omit=events,topics"' in page.replace("%2C", ",")
    answer = week.act(f"up {week.anchors('featured')[1]}", omit="events,topics")
    assert "omit=events%2Ctopics" in answer.location
    whole = week.client().get(week.path).text
    assert "<summary>With all sections</summary>" in whole
    assert f'src="/desk/preview/{week.name}/phone?edit=yes"' in whole


def test_the_read_aloud_order_is_that_of_the_subscriber_who_was_chosen(week: SampleWeek) -> None:
    shown = week.client().get(f"{week.path}?omit=topics").text
    assert f'{week.path}/preview?view=aloud&omit=topics">Screen reader order</a>' in unescape(shown)


def test_the_edition_page_of_a_subscriber_who_left_everything_out_says_that_they_get_no_mail(week: SampleWeek) -> None:
    keys = re.findall(r'name="omit" value="([^"]+)"', week.client().get(week.path).text)
    page = week.client().get(f"{week.path}?omit={','.join(keys)}").text
    assert "don\u2019t get this edition" in page
    assert "<iframe" not in page


def test_every_story_has_its_place_in_the_preview_and_the_bytes_are_the_mail_but_for_that(week: SampleWeek) -> None:
    page, mail = week.client().get(week.path).text, week.client().get(f"/desk/preview/{week.name}/phone").text
    places = re.findall(r'<li class="st" id="[^"]+" data-story="[^"]+" data-place="([^"]+)"', page)
    headlines = re.findall(r'<li class="st".+?<h3 id="[^"]+">(.+?)</h3>', page, re.DOTALL)
    assert len(set(places)) == len(places) == len(headlines) > 20
    for place, headline in zip(places, headlines, strict=True):
        found = re.findall(rf' id="{place}"[^>]*>(.{{,900}})', mail, re.DOTALL)
        assert len(found) == 1, headline
        assert unescape(headline) in unescape(re.sub(r"<[^>]+>", "", found[0])).replace("\xa0", " ")
    html = editions.render_edition_bytes(week.installation, read_edition(week.installation, week.name), "html").decode()
    content = EditionContent.from_json(
        json.loads(editions.render_edition_bytes(week.installation, read_edition(week.installation, week.name), "json"))
    )
    assert unmarked(insert_preview_anchors(html, content)) == html


def test_what_stands_twice_has_two_places_and_what_has_no_link_is_found_by_its_headline() -> None:
    linked, own = SectionEntry("Ports & cranes", "https://a.example.org/?a=1&b=2"), SectionEntry("Read  this first", "")
    sections = [
        EditionSection(key, key, key, "", (entry,)) for key, entry in (("featured", linked), ("most-read", linked))
    ]
    content = replace(CONTENT, sections=(*sections, EditionSection("own", "topics", "Own", "", (own,))))
    link = '<a href="https://a.example.org/?a=1&amp;b=2">Ports &amp; cranes</a>'
    html = f'<li>{link}</li><h2 class="x">{link}</h2><p>Read more</p><h3>{link}</h3><h3>Read&nbsp;this first</h3>'
    names = list_preview_anchors(content)
    first, second, third = (names[key, 1] for key in ("featured", "most-read", "own"))
    assert second == f"{first}-2"
    marked = insert_preview_anchors(html, content)
    assert unmarked(marked) == html
    assert re.findall(r'<h(\d) id="([^"]+)"', marked) == [("2", first), ("3", second), ("3", third)]


def test_the_preview_leads_to_the_story_that_is_open_or_was_touched_last(week: SampleWeek) -> None:
    first, second = week.anchors("topics")[:2]
    page = week.client().get(f"{week.path}?panel=more&about={second}").text
    places = dict(re.findall(r'data-story="([^"]+)" data-place="([^"]+)"', page))
    source = f'src="/desk/preview/{week.name}/phone?edit=yes'
    assert f'{source}"' in page
    assert re.search(rf'href="[^"]*tab=preview&amp;show={second}#{second}">Show in the preview', page)
    assert f'{source}#{places[second]}"' in week.client().get(f"{week.path}?show={second}").text
    assert f'{source}#{places[first]}"' in week.client().get(f"{week.path}?open={first}&show={second}").text
    # A list of mails shows no story: the link leads to a view that does.
    page = week.client().get(f"{week.path}?view=inbox&panel=more&about={second}").text
    assert re.search(rf'href="[^"]*\?tab=preview&amp;show={second}#{second}">Show in the preview', page)
    page = week.client().get(f"{week.path}?view=dark&panel=more&about={second}").text
    assert f'view=dark&amp;show={second}#{second}">Show' in page
    saved = week.client().post(
        f"{week.path}/story/{second}", data={"headline": "New", "was-headline": "", "close": "1"}
    )
    assert f"show={second}#{second}" in saved.location
    assert f'{source}#{places[second]}"' in week.client().get(saved.location).text
    head = week.client().post(f"{week.path}/head", data={"intro": "New", "was-intro": "", "close": "1", "show": second})
    assert "show" not in head.location


def test_each_story_in_the_preview_leads_to_its_form(week: SampleWeek) -> None:
    answer = week.client().get(f"/desk/preview/{week.name}/dark?edit=yes&omit=products")
    links = re.findall(
        r'<a class="desk-edit" href="([^"]+)" target="_top" aria-label="Edit ([^"]+)" data-p', answer.text
    )
    headlines = {
        f"{title} {number}": headline
        for title, key in (("Featured", "featured"), ("Topics", "topics"))
        for number, headline in enumerate(week.headlines(key), 1)
    }
    opened = {label: week.client().get(unescape(url)).text for url, label in links if label in headlines}
    assert opened.keys() == headlines.keys()
    for label, page in opened.items():
        (field,) = re.findall(r'id="headline"[^>]*>([^<]*)</textarea>', page)
        assert unescape(field) == headlines[label]
        assert "view=dark" in page
    # Scripts never run in the frame. Only the page that has the forms lets its frame lead there.
    assert answer.headers["Content-Security-Policy"].endswith(f"sandbox {LINKED_SANDBOX}")
    assert "allow-scripts" not in LINKED_SANDBOX
    plain = week.client().get(f"/desk/preview/{week.name}/dark")
    assert "desk-edit" not in plain.text
    assert plain.headers["Content-Security-Policy"].endswith("sandbox allow-popups")


def test_a_place_that_the_preview_has_no_more_opens_nothing(week: SampleWeek) -> None:
    page = week.client().get(f"{week.path}?open=at-s0123456789ab")
    assert page.status_code == 200
    assert 'id="headline"' not in page.text


def test_a_storys_link_covers_all_of_it_and_nothing_else() -> None:
    first, second, third = (SectionEntry(f"Story {n}", f"https://a.example.org/{n}") for n in "123")
    sections = (EditionSection("a", "topics", "A & B", "", (first, second, third)),)
    headings = [f'<h3><a href="{entry.url}">{entry.headline}</a></h3>' for entry in (first, second)]
    top = "<table><tr><td><h1>Ours</h1></td></tr></table>"
    rest = f'<p>Also <a href="{third.url}">third</a>, in a line of its own</p>'
    html = f"<head></head>{top}<table><tr><td>{headings[0]}<p>More</p></td></tr></table><td>{headings[1]}{rest}</td>"
    marked = insert_preview_anchors(html, replace(CONTENT, sections=sections), lambda place: f"/open?{place}&x")
    assert re.findall(r"<(\w+) data-story", marked) == ["table"]
    (link,) = re.findall(r'<a class="desk-edit"[^>]*></a>', marked)
    place = f"at-{story_anchor(first.url)}"
    assert f'href="/open?{place}&amp;x" target="_top" aria-label="Edit A &amp; B 1" data-place="{place}"' in link
    assert f'{link}<h3 id="{place}"><a href="{first.url}">' in marked
    bare = re.sub("<style>.*</style>", "", unmarked(marked), flags=re.DOTALL)
    assert bare.replace(link, "").replace(" data-story", "") == html


def test_the_mail_alone_opens_beside_the_desk(week: SampleWeek) -> None:
    page, preview = week.client().get(week.path).text, week.client().get(f"{week.path}/preview").text
    assert re.search(r'target="_blank" rel="noopener">Full size</a>', page)
    assert re.search(r'target="_blank" rel="noopener">Open the email in a new tab</a>\.', preview)


def test_all_that_waits_in_the_tray_can_be_asked_for() -> None:
    assert read_page_query({"panel": "tray"}).but() == {"panel": "tray"}
    assert read_page_query({"panel": "attic"}).but() == {}

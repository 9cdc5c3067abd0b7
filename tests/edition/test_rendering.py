"""The fragments of an edition: their contents, and that any of them can be left out."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment
from lxml import html as lxml_html

from digest.edition.content.edition_content import EditionContent, EditionSection, RenderedFragment
from digest.edition.content.fragment_names import list_excluded_fragments
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, SlottedText
from digest.edition.rendering import fragments
from digest.edition.rendering.css_inlining import inline_css
from digest.edition.rendering.fragments import (
    build_publication_context,
    create_mail_environment,
    render_edition,
    render_subject,
)
from digest.edition.rendering.sanitizer import RenderingError
from digest.edition.rendering.template_filters import tie_dates
from digest.settings import Settings
from digest.settings.mail_frequency import MailFrequency

OURS = Settings.model_validate(
    {
        "base_url": "https://news.example.org/",
        "file": {"sender": {"postal_address": "1200 Example Avenue\nWashington, DC 20005\n"}},
    }
)
FRAME = build_publication_context(OURS)
KEYS = ("featured", "most-read", "topics", "products", "events", "opportunities")
PREHEADERS = [
    "whole.or-preheader",
    *(f"section:{key}.or-preheader" for key in ("featured", "most-read")),
    *(
        f"section:topics:{topic}.or-preheader"
        for topic in ("cybersecurity", "aviation", "fire-service", "emergency-management")
    ),
    *(f"section:{key}.or-preheader" for key in ("products", "events", "opportunities")),
    "any.or-preheader",
]
MINUTES = [f"minutes-{minutes}" for minutes in range(1, 7)]
DATES = [
    *(f"section:{keys}.or-dates" for keys in ("events+opportunities", "events", "opportunities")),
    "section:events+opportunities.dates",
    *("section:events.date-1", "section:opportunities.date-1"),
    "section:events+opportunities.dates-end",
]
TOPICS = ("cybersecurity", "aviation", "fire-service", "emergency-management")
NAMES = [
    *("head", "section:featured.contents", "section:opportunities.or-next", "intro", "section:featured"),
    *(*DATES, "section:featured.rows", "block:sponsor", "section:most-read"),
    *("section:topics:", *(f"section:topics:{topic}.topic" for topic in TOPICS), "section:topics:.end"),
    *(*(f"section:{key}" for key in KEYS[3:]), "foot"),
]
SHARE_ONLY = ("mailto:", "https://www.linkedin.com/", "https://news.example.org/media/")


@pytest.fixture(scope="module")
def pages() -> Environment:
    return create_mail_environment(OURS)


@pytest.fixture(scope="module")
def pieces(full_content: EditionContent, pages: Environment) -> tuple[RenderedFragment, ...]:
    return render_edition(full_content, FRAME, pages)


class Balance(HTMLParser):
    """Finds tags that are closed in a wrong order or never."""

    VOID = frozenset({"br", "hr", "img", "meta", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def unbalanced(text: str) -> list[str]:
    balance = Balance()
    balance.feed(text)
    balance.close()
    # Outlook's ghost table stands in comments: it has to open and close as often.
    ghosts = text.count("<!--[if mso]>") - text.count("<![endif]-->")
    return balance.wrong + balance.open + ["ghost"] * abs(ghosts)


def links_of_html(text: str) -> set[str]:
    return set(lxml_html.document_fromstring(text).xpath("//a/@href"))


def links_of_text(text: str) -> set[str]:
    return {line for line in text.splitlines() if re.match(r"https?://", line)}


def of(pieces: tuple[RenderedFragment, ...], kind: str, name: str) -> str:
    (body,) = (p.body for p in pieces if (p.kind, p.name) == (kind, name))
    return body


def names_of(pieces: tuple[RenderedFragment, ...], kind: str) -> list[str]:
    """Return the names of the pieces of a kind without those of lines about the whole email at its top."""
    lines = {*PREHEADERS, *MINUTES, "masthead"}
    return [p.name for p in pieces if p.kind == kind and p.name not in lines and not is_top_line(p.name)]


def is_top_line(name: str) -> bool:
    return name.startswith("minutes-") or name.endswith(".or-preheader")


def test_html_and_text_have_the_same_pieces_in_reading_order(pieces: tuple[RenderedFragment, ...]) -> None:
    assert names_of(pieces, "html") == names_of(pieces, "text") == NAMES
    html, text = ([p.name for p in pieces if p.kind == kind] for kind in ("html", "text"))
    assert html == [NAMES[0], *PREHEADERS, "masthead", *MINUTES, *NAMES[1:]]
    assert text == [NAMES[0], *MINUTES, "masthead", *NAMES[1:]]


def test_the_pieces_joined_are_the_inlined_page_without_its_markers(
    full_content: EditionContent, pages: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[str] = []

    def spy(source: SlottedText) -> SlottedText:
        inlined = inline_css(source)
        whole.append(tie_dates(inlined.text, FRAME.subscriber_language))
        return inlined

    monkeypatch.setattr(fragments, "inline_css", spy)
    pieces = render_edition(full_content, FRAME, pages)
    assert len(whole) == 1, "a page is inlined once"
    for kind, others in (("html", ("web", "short")), ("short", ("web", "full"))):
        expected = whole[0]
        for other in others:
            expected = re.sub(f"<!--{other}-->.*?<!--/{other}-->", "", expected, flags=re.DOTALL)
        head, *parts = re.split(r"<!--cut ([a-z0-9:.+-]+)-->", re.sub(r"<!--/?(?:mail|full|short)-->", "", expected))
        left_out = list_excluded_fragments((piece.name for piece in pieces), ())
        kept = [body for name, body in zip(parts[::2], parts[1::2], strict=True) if name not in left_out]
        assert join_fragments(pieces, kind).text == "".join((head, *kept))  # type: ignore[arg-type]  # two of its kinds
        assert left_out <= {
            *PREHEADERS,
            *MINUTES,
            *DATES[:3],
            "any.or-opening",
            *(name for name in left_out if ".lines-" in name),
        }


def test_the_same_content_gives_the_same_bytes(
    full_content: EditionContent, pages: Environment, pieces: tuple[RenderedFragment, ...]
) -> None:
    assert render_edition(full_content, FRAME, pages) == pieces
    assert render_edition(full_content, FRAME, create_mail_environment(OURS)) == pieces


@settings(max_examples=40, deadline=None)
@given(omitted_keys=st.sets(st.sampled_from(KEYS)))
def test_any_sections_can_be_left_out(pieces_of_all: tuple[RenderedFragment, ...], omitted_keys: set[str]) -> None:
    omit = list_excluded_fragments((piece.name for piece in pieces_of_all), omitted_keys)
    for kind in ("html", "web"):
        joined = join_fragments(pieces_of_all, kind, omitted_keys).text
        assert unbalanced(joined) == []
        assert joined.startswith("<!DOCTYPE html>")
        assert joined.endswith("</html>")
    text = join_fragments(pieces_of_all, "text", omitted_keys).text
    assert "\n\n\n\n" not in text, "never more than two blank lines"
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for name in NAMES[1:]:
        body = of(pieces_of_all, "text", name)
        assert body.startswith("\n") or not body
        assert not body or (body in text) == (name not in omit)


@pytest.fixture(scope="module")
def pieces_of_all(pieces: tuple[RenderedFragment, ...]) -> tuple[RenderedFragment, ...]:
    return pieces


def test_slots_are_in_the_foot_where_its_links_end_and_the_sign_up_is_named(
    pieces: tuple[RenderedFragment, ...],
) -> None:
    for piece in pieces:
        assert not piece.slots or (piece.name == "foot" and piece.kind in {"html", "text", "short", "short-text"})
    for kind in ("html", "text", "short", "short-text"):
        (foot,) = (piece.slotted for piece in pieces if (piece.kind, piece.name) == (kind, "foot"))
        filled = foot.fill({LEAVE_SLOT: "L" * 22, PREFERENCES_SLOT: "P" * 22, SIGNUP_SLOT: "that day"})
        assert f"https://news.example.org/u/{'L' * 22}" in filled
        assert f"https://news.example.org/preferences/{'P' * 22}" in filled
        assert "You signed up for this weekly email on that day." in filled


def test_the_foot_promises_as_many_mails_as_the_timetable_brings(
    full_content: EditionContent, pages: Environment, pieces: tuple[RenderedFragment, ...]
) -> None:
    alone = replace(full_content, sections=full_content.sections[:1], blocks=())
    twice = render_edition(alone, replace(FRAME, frequency=MailFrequency((0, 3))), pages)
    for kind in ("html", "web", "text"):
        assert "One email a week, no spam. We use" in " ".join(of(pieces, kind, "foot").split())
        foot = " ".join(of(twice, kind, "foot").split())
        assert "2 emails a week, no spam. We use" in foot
        assert "weekly" not in foot


def test_breaking_news_does_not_promise_a_number_of_emails(full_content: EditionContent, pages: Environment) -> None:
    news = render_edition(replace(full_content, number=0, sections=full_content.sections[:1], blocks=()), FRAME, pages)
    for kind in ("html", "web", "text"):
        foot = " ".join(of(news, kind, "foot").split())
        assert "one email a week" not in foot.lower()
        assert "weekly" not in foot
        assert "email address" in foot


def test_no_line_begins_with_a_middle_dot(pieces: tuple[RenderedFragment, ...]) -> None:
    seen = {kind: "".join(p.body for p in pieces if p.kind == kind) for kind in ("html", "web", "short", "page")}
    texts = {kind: lxml_html.fragment_fromstring(f"<div>{body}</div>").text_content() for kind, body in seen.items()}
    assert [kind for kind, text in texts.items() if "\N{NO-BREAK SPACE}·" not in text] == []
    assert [kind for kind, text in texts.items() if re.search(r"[ \n]·", text)] == []


def test_no_text_is_of_size_nought_which_rspamd_takes_for_hidden_words(pieces: tuple[RenderedFragment, ...]) -> None:
    html = join_fragments(pieces, "html").text
    assert len(re.findall(r"font-size:\d", html)) > 50
    assert not re.search(r"font-size:0(?![.\d])", html)


def test_the_web_copy_is_the_mail_without_what_is_personal(pieces: tuple[RenderedFragment, ...]) -> None:
    web, mail = join_fragments(pieces, "web").text, join_fragments(pieces, "html").text
    assert not join_fragments(pieces, "web").slots
    assert "display:none" not in web.partition("</head>")[2], "no preheader"
    assert "https://news.example.org/subscribe" in web
    assert "Unsubscribe" not in web
    assert "Unsubscribe" in mail
    assert {p.name for p in pieces if p.kind == "web"} == {
        *("head", *PREHEADERS, "masthead", "intro", "section:featured", "section:featured.rows", "foot")
    }
    ours = ("https://news.example.org/", "mailto:editors@")
    assert {u for u in links_of_html(web) if not u.startswith(ours)} >= {
        u for u in links_of_html(mail) if not u.startswith(ours)
    }


def test_the_contents_have_no_numbers_that_the_stories_lack(pieces: tuple[RenderedFragment, ...]) -> None:
    text = join_fragments(pieces, "text").text
    contents = text.partition("IN THIS ISSUE\n\n")[2].partition("\n\n")[0]
    assert " ".join(contents.split()) == "New flood maps move 41,000 homes into the high-risk zone"


def test_html_and_text_say_the_same_links(pieces: tuple[RenderedFragment, ...]) -> None:
    html = {u for u in links_of_html(join_fragments(pieces, "html").text) if not u.startswith(SHARE_ONLY)}
    assert links_of_text(join_fragments(pieces, "text").text) == html


def test_lines_of_the_text_fit_72_columns_and_addresses_stay_whole(pieces: tuple[RenderedFragment, ...]) -> None:
    for line in join_fragments(pieces, "text").text.splitlines():
        assert len(line) <= 72 or " " not in line, line
        assert " http" not in line, "an address stands alone on its line"
        assert line == line.rstrip()


def test_the_text_ends_with_leaving_and_the_postal_address(pieces: tuple[RenderedFragment, ...]) -> None:
    assert join_fragments(pieces, "text").text.endswith(
        "Unsubscribe:\nhttps://news.example.org/u/\n\nHLS.Today, 1200 Example Avenue, Washington, DC 20005\n"
    )


def test_the_text_says_what_the_html_says(full_content: EditionContent, pieces: tuple[RenderedFragment, ...]) -> None:
    html = " ".join(lxml_html.document_fromstring(join_fragments(pieces, "html").text).text_content().split())
    text = " ".join(join_fragments(pieces, "text").text.split())
    for section in full_content.sections:
        for e in section.entries:
            for words in (e.headline, e.summary, e.why, e.credit, e.when.text if e.when else "", *e.details):
                assert words in html, words
                assert words in text, words


def test_the_paid_block_is_labelled_and_stands_after_featured(pieces: tuple[RenderedFragment, ...]) -> None:
    sponsor = lxml_html.fromstring(of(pieces, "html", "block:sponsor"))
    assert "Sponsor\N{NO-BREAK SPACE}· paid for by Northline Radio" in sponsor.text_content()
    assert sponsor.xpath("//a/@rel") == ["sponsored"]
    assert "Georgia" not in of(pieces, "html", "block:sponsor"), "serif is what editors chose"


def test_without_a_sponsor_there_is_no_block(full_content: EditionContent, pages: Environment) -> None:
    pieces = render_edition(replace(full_content, blocks=()), FRAME, pages)
    assert "block:sponsor" not in {p.name for p in pieces}


def test_a_credit_that_is_not_the_source_is_shown(pieces: tuple[RenderedFragment, ...]) -> None:
    assert "Source: Interagency Police Office" in of(pieces, "html", "section:featured.rows")
    assert "Source: County Fire Chiefs" in of(pieces, "text", "section:most-read")


def test_more_sources_lead_to_where_the_web_copy_names_them_all(
    full_content: EditionContent, pieces: tuple[RenderedFragment, ...]
) -> None:
    lead = lxml_html.fromstring(of(pieces, "html", "section:featured"))
    assert "Also reported by Coastal Wire, Dockside Daily, and 4\xa0more sources" in lead.text_content()
    (link,) = lead.xpath("//a[.='4\xa0more sources']/@href")
    page, _, anchor = link.partition("#")
    assert page == "https://news.example.org/editions/2026-W47"
    (all_of_them,) = lxml_html.fromstring(of(pieces, "web", "section:featured")).xpath(f"//*[@id='{anchor}']")
    assert all_of_them.xpath(".//a/@href") == [also.url for also in full_content.sections[0].entries[0].also]


def test_one_source_left_over_is_named_and_not_counted(pieces: tuple[RenderedFragment, ...]) -> None:
    words = " ".join(lxml_html.document_fromstring(join_fragments(pieces, "html").text).text_content().split(" "))
    assert "Also reported by Gauge & Levee, Pier Notes, and Harbor Watch" in words


def test_nothing_is_set_for_what_is_not_there(full_content: EditionContent, pages: Environment) -> None:
    bare = [
        replace(e, picture=None, kicker="", also=(), related=(), why="", summary="", date="")
        for e in full_content.sections[0].entries[:1]
    ]
    content = replace(
        full_content,
        intro="",
        editor="",
        preheader="",
        blocks=(),
        sections=(EditionSection("events", "events", "Events", "", tuple(bare)),),
    )
    frame = replace(FRAME, postal_address="", tagline="", about="")
    html = join_fragments(render_edition(content, frame, pages), "html").text
    assert unbalanced(html) == []
    assert not re.findall(r"<(td|p|h[1-3]|tr)[^>]*>[ \n]*</\1>", html), "an empty cell or paragraph"
    assert "<img" not in html


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_products_stand_in_pairs_whatever_their_number(
    full_content: EditionContent, pages: Environment, count: int
) -> None:
    entries = (full_content.sections[3].entries * 2)[:count]
    content = replace(full_content, sections=(replace(full_content.sections[3], entries=entries),))
    html = join_fragments(render_edition(content, FRAME, pages), "html").text
    assert unbalanced(html) == []
    assert lxml_html.document_fromstring(html).xpath("count(//h3)") == count


def test_a_section_of_the_operators_own_is_set_in_rows(full_content: EditionContent, pages: Environment) -> None:
    own = EditionSection("local", "stories", "Local news", "", full_content.sections[0].entries[1:4])
    html = join_fragments(render_edition(replace(full_content, sections=(own,)), FRAME, pages), "html").text
    assert "Local news" in html
    assert html.count("/media/") == 3


def test_headings_step_down_by_one_from_a_single_h1(pieces: tuple[RenderedFragment, ...]) -> None:
    levels = [
        int(e.tag[1]) for e in lxml_html.document_fromstring(join_fragments(pieces, "html").text).iter("h1", "h2", "h3")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_language_and_direction_stand_outside_and_inside(full_content: EditionContent, pages: Environment) -> None:
    frame = replace(FRAME, language="ar", direction="rtl")
    html = join_fragments(render_edition(full_content, frame, pages), "html").text
    assert html.count('lang="ar" dir="rtl"') == 2
    assert "padding-right:14px" in html, "sides are swapped"


def test_the_subject_is_one_line(full_content: EditionContent, pages: Environment) -> None:
    odd = replace(full_content, subject="Ports get\r\nBcc: eve@example.org \u202eten days ")
    assert render_subject(odd, FRAME, pages) == "Ports get Bcc: eve@example.org ten days"
    assert render_subject(full_content, FRAME, pages) == full_content.subject


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("body.txt", "no cuts", "body.txt was cut into head:"),
        ("body.html", "<p>no kept style block</p>", "already inlined"),
    ],
)
def test_an_operators_template_that_lost_its_cuts_is_refused(
    full_content: EditionContent, tmp_path: Path, name: str, text: str, says: str
) -> None:
    own = tmp_path / "mail" / "edition"
    own.mkdir(parents=True)
    (own / name).write_text(text)
    with pytest.raises(RenderingError, match=says):
        render_edition(full_content, FRAME, create_mail_environment(OURS.model_copy(update={"templates": tmp_path})))


@pytest.mark.parametrize("kind", ["html", "page"])
def test_a_description_is_read_aloud_wherever_its_image_is_shown(
    kind: str, full_content: EditionContent, pages: Environment
) -> None:
    featured = full_content.sections[0]
    lead, row, silent = featured.entries[:3]
    assert lead.picture
    assert row.picture
    assert silent.picture
    described, undescribed = (lead.picture, row.picture), replace(silent.picture, alt="")
    entries = (lead, row, replace(silent, picture=undescribed))
    sections = (replace(featured, entries=entries), *full_content.sections[1:])
    pieces = render_edition(replace(full_content, sections=sections), FRAME, pages)
    page = lxml_html.fromstring(f"<div>{''.join(piece.body for piece in pieces if piece.kind == kind)}</div>")
    images = {image.get("src").rpartition("/")[2]: image for image in page.iter("img") if "/media/" in image.get("src")}
    for picture in described:
        image = images[picture.hash]
        assert image.get("alt") == picture.alt
        assert not image.xpath("ancestor::*[@aria-hidden='true']")
    image = images[undescribed.hash]
    assert image.get("alt") == ""
    assert bool(image.xpath("ancestor::a")) == bool(image.xpath("ancestor::a[@aria-hidden='true']"))

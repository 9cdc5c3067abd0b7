"""The requirements for the inlined page: small, complete, and dark where it should be."""

import re

import pytest
from lxml import html as lxml_html
from premailer import Premailer

from digest.edition.content.edition_content import EditionContent, RenderedFragment
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.content.slotted_text import SlottedText
from digest.edition.rendering.css_inlining import inline_css
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.edition.rendering.sanitizer import RenderingError
from digest.settings import Settings

OURS = Settings.model_validate({"base_url": "https://news.example.org"})


@pytest.fixture(scope="module")
def pieces(full_content: EditionContent) -> tuple[RenderedFragment, ...]:
    return render_edition(full_content, build_publication_context(OURS), create_mail_environment(OURS))


def head_of(pieces: tuple[RenderedFragment, ...]) -> str:
    return next(p.body for p in pieces if (p.kind, p.name) == ("html", "head"))


def test_the_mail_stays_far_below_what_gmail_clips(
    full_content: EditionContent, pieces: tuple[RenderedFragment, ...]
) -> None:
    assert sum(len(s.entries) for s in full_content.sections) >= 25
    assert len(join_fragments(pieces, "html").text.encode()) <= 80 * 1024


def test_the_kept_style_block_is_whole_and_wins(pieces: tuple[RenderedFragment, ...]) -> None:
    css = re.findall(r"<style>(.*?)</style>", head_of(pieces), flags=re.DOTALL)[-1]
    assert len(css.encode()) < 16 * 1024, "Gmail drops a longer block"
    assert "@media (prefers-color-scheme:dark)" in css
    assert "[data-ogsc] .ink" in css
    assert css.count("{") == css.count("}")
    for block in re.findall(r"@media[^{]*\{(.*?)\n\}", css, flags=re.DOTALL):
        for declarations in re.findall(r"\{([^}]*)\}", block):
            assert all(d.endswith("!important") for d in declarations.split(";") if d)


def test_attributes_made_of_css_stand_only_where_html_has_them(pieces: tuple[RenderedFragment, ...]) -> None:
    page = lxml_html.document_fromstring(join_fragments(pieces, "html").text)
    assert {e.tag for e in page.xpath("//*[@valign]")} <= {"td", "tr"}
    assert {e.tag for e in page.xpath("//*[@bgcolor]")} == {"body", "table", "td"}


def test_every_colour_is_turned_in_the_dark_and_by_outlook_com() -> None:
    environment, frame = create_mail_environment(OURS), build_publication_context(OURS)
    base, client = (environment.get_template(f"mail/{name}.css").render(frame=frame) for name in ("style", "client"))
    client = re.sub(r"/\*.*?\*/", "", client, flags=re.DOTALL)
    dark = client.split("@media (prefers-color-scheme:dark)")[1].split("\n}")[0].lstrip("{")
    outlook = client.split("\n}")[-1]
    coloured = {
        (name, prop.split("-")[0])
        for name, body in re.findall(r"^\.([\w-]+)\{(.*)\}$", base, flags=re.MULTILINE)
        for prop in re.findall(r"([a-z-]+):[^;]*#[0-9A-F]{6}", body)
    }
    assert len(coloured) >= 11
    for name, prop in coloured:
        for place in (dark, outlook):
            rules = [b for s, b in re.findall(r"([^{}]*)\{([^}]*)\}", place) if re.search(rf"\.{name}\b", s)]
            assert any(re.search(rf"\b{prop}\b", rule) for rule in rules), (name, prop)


def test_the_page_fetches_nothing_but_our_pictures(pieces: tuple[RenderedFragment, ...]) -> None:
    html = join_fragments(pieces, "html").text
    tree = lxml_html.document_fromstring(html)
    assert not re.search(r"<link|<script|\{\{|%7B%7B|url\(", html)
    assert all(src.startswith("https://news.example.org/media/") for src in tree.xpath("//@src"))
    assert all(i.get("width").isdigit() and i.get("height").isdigit() for i in tree.iter("img"))
    assert all(i.get("alt") is not None for i in tree.iter("img"))


def test_classes_that_no_client_rule_needs_are_gone(pieces: tuple[RenderedFragment, ...]) -> None:
    html = join_fragments(pieces, "html").text
    css = "".join(re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL))
    used = set(" ".join(lxml_html.document_fromstring(html).xpath("//@class")).split())
    assert used
    assert all(f".{name}" in css for name in used)


def test_a_page_is_never_inlined_twice(pieces: tuple[RenderedFragment, ...]) -> None:
    with pytest.raises(RenderingError, match="already inlined"):
        inline_css(join_fragments(pieces, "html"))


def test_a_second_rendering_parses_no_declaration_anew(full_content: EditionContent) -> None:
    frame, templates = build_publication_context(OURS), create_mail_environment(OURS)
    render_edition(full_content, frame, templates)  # imports premailer, with the size of the cache that we ask for
    from premailer.cache import cache

    cache.clear()
    first = render_edition(full_content, frame, templates)
    held = set(cache)
    assert len(held) < cache.maxsize / 2, "an edition of twice the size fits as well"
    assert render_edition(full_content, frame, templates) == first
    assert set(cache) == held


ANY_RULES = """td{padding:0} .a{color:red} .a.b{color:blue} p.a{margin:0} .c{color:lime} .none{top:0} .a .none{left:0} [lang=en]{right:0}
[title$=".png"]{bottom:0} p:first-child{width:auto} .a>.c{border:0} .A{height:auto} #x.none{z-index:1} *{float:none}"""
SIMPLE_RULES = """td{padding:0} html{top:1px} body{margin:0} .a{color:red} .a.b{color:blue} p.a{margin:0} .none{top:0} .A{height:auto}
.c{color:lime;text-align:center;background-color:#abc} u{border:0}"""


@pytest.mark.parametrize("css", [ANY_RULES, SIMPLE_RULES])
def test_each_element_has_the_style_that_premailer_alone_gives_it(css: str) -> None:
    body = """<body><p class="a">1<i class="c">2</i></p><p class="a
    b" lang="en">3</p><b class="A" title="x.png">4</b><u id="x">5</u></body>"""
    kept = '<style data-premailer="ignore">.kept{color:#111}</style>'
    page = f"<html><head>{kept}<style>{css}</style></head>{body}</html>"
    alone = Premailer(page, allow_network=False, disable_basic_attributes=["width", "height"]).transform()
    ours, theirs = (
        [
            (element.tag, (element.get("style") or "").replace("; ", ";").replace(", ", ","))
            for element in lxml_html.document_fromstring(text).iter()
        ]
        for text in (inline_css(SlottedText(page)).text, alone)
    )
    assert ours == theirs
    assert len({style for _, style in ours}) >= 5


def test_a_style_sheet_that_several_pages_have_is_applied_to_each_and_pictures_that_float_are_aligned() -> None:
    css = "img{border:0} .left{float:left} @media print{.left{float:none}}"
    head = f'<head><style data-premailer="ignore">.kept{{color:#111}}</style><style>{css}</style></head>'
    first, second, third = (
        lxml_html.document_fromstring(
            inline_css(SlottedText(f"<html>{head}<body><img {attributes}></body></html>")).text
        )
        for attributes in ('class="left"', 'src="a"', 'class="left" src="b"')
    )
    aligned = [(page.find(".//img").get("style"), page.find(".//img").get("align")) for page in (first, second, third)]
    assert aligned == [("border:0;float:left", "left"), ("border:0", None), ("border:0;float:left", "left")]
    kept = ["".join(page.find(".//head").itertext()) for page in (first, second, third)]
    assert "@media print" in kept[0]
    assert kept[0] == kept[1] == kept[2]

import gzip
import io
import json
from datetime import timedelta
from typing import Any

import feedparser
import pytest
from lxml import html as lxml_html
from PIL import Image
from sqlalchemy import select, update

from digest.collect.imaging.card_image import draw_icon
from digest.collect.imaging.encoded_image import ImageError
from digest.store.models import EditionState, MediaFile
from tests.moments import RELEASE


def test_an_empty_archive_says_that_nothing_has_gone_out_yet(world: Any) -> None:
    answer = world.client.get("/")
    assert answer.status_code == 200
    assert "No editions yet" in answer.text
    assert "/subscribe" in answer.text


def test_the_archive_lists_what_went_out_newest_first_and_nothing_else(both: Any) -> None:
    both.edition(
        name="2026-W45", number=145, state=EditionState.SENT, release_at=RELEASE - timedelta(14), subject="Old"
    )
    both.edition(
        name="2026-W46", number=146, state=EditionState.SENDING, release_at=RELEASE - timedelta(7), subject="New"
    )
    both.edition(name="2026-W47", number=147, state=EditionState.APPROVED, subject="Not yet out")
    page = both.client.get("/").text
    assert page.index("New") < page.index("Old")
    assert "Not yet out" not in page
    assert "Nov 13, 2026" in page


@pytest.mark.parametrize("state", [EditionState.SENT, EditionState.SENDING])
def test_an_edition_as_it_was_mailed_is_without_a_subscribers_links_and_not_for_search_engines(
    world: Any, state: EditionState
) -> None:
    name = world.edition(state=state)
    answer = world.client.get(f"/editions/{name}/as-sent")
    assert answer.status_code == 200
    assert "Ports get ten days to check the remote links" in answer.text
    assert "~leave-token~" not in answer.text
    assert "~preferences-token~" not in answer.text
    assert "style-src 'unsafe-inline'" in answer.headers["Content-Security-Policy"]
    assert "img-src 'self';" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Robots-Tag"] == "noindex"
    again = world.client.get(f"/editions/{name}/as-sent", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "state", [EditionState.DRAFT, EditionState.INCOMPLETE, EditionState.APPROVED, EditionState.CANCELLED]
)
def test_an_edition_that_did_not_go_out_is_no_page(world: Any, state: EditionState) -> None:
    answer = world.client.get(f"/editions/{world.edition(state=state)}")
    assert answer.status_code == 404
    assert "Page not found" in answer.text


def test_the_feed_is_atom_and_leads_to_the_public_addresses(both: Any) -> None:
    both.edition(state=EditionState.SENT, subject="Ports & cranes <today>")
    answer = both.client.get("/feed.atom")
    assert answer.mimetype == "application/atom+xml"
    feed = feedparser.parse(answer.data, sanitize_html=False)
    assert not feed.bozo
    assert feed.version == "atom10"
    (entry,) = feed.entries
    assert entry.title == "Ports & cranes <today>"
    assert entry.id == entry.link == "https://news.example.org/editions/2026-W47"
    assert entry.updated == "2026-11-20T11:04:00Z"
    assert "New flood maps" in entry.summary


def test_an_empty_feed_is_a_feed(world: Any) -> None:
    feed = feedparser.parse(world.client.get("/feed.atom").data)
    assert not feed.bozo
    assert feed.entries == []
    assert feed.feed.title == "HLS.Today"


def test_a_picture_is_served_for_good_under_the_hash_of_its_bytes(both: Any) -> None:
    both.edition()
    with both.database.read() as session:
        name = session.scalar(select(MediaFile.hash))
    answer = both.client.get(f"/media/{name}")
    assert answer.mimetype == "image/jpeg"
    assert answer.data.startswith(b"\xff\xd8")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert both.client.get(f"/media/{name}", headers={"If-None-Match": f'"{name}"'}).status_code == 304
    for other in ("0" * 64, "x", name[:-1], f"{name}.jpg"):
        assert both.client.get(f"/media/{other}").status_code == 404


def test_a_picture_that_isnt_what_its_name_says_is_never_served(both: Any) -> None:
    both.edition()
    with both.database.write() as session:
        name = session.scalar(select(MediaFile.hash))
        session.execute(update(MediaFile).values(body=b"\xff\xd8 another picture"))
    assert both.client.get(f"/media/{name}").status_code == 404
    assert both.client.get(f"/media/{name}", headers={"If-None-Match": f'"{name}"'}).status_code == 404


def test_a_style_sheet_keeps_its_name_as_long_as_its_text(world: Any) -> None:
    page = world.client.get("/").text
    address = page.split('<link rel="stylesheet" href="')[1].split('"')[0]
    answer = world.client.get(address)
    assert answer.mimetype == "text/css"
    assert "immutable" in answer.headers["Cache-Control"]
    assert world.client.get("/style/reader-000000000000.css").status_code == 404


def test_styles_and_scripts_are_compressed_for_who_accepts_it_and_pages_are_not(world: Any) -> None:
    context = world.app.extensions["digest"]
    for path in (f"/style/{context.styles.public_names['desk']}", f"/script/{context.scripts.public_names['desk']}"):
        plain = world.client.get(path)
        packed = world.client.get(path, headers={"Accept-Encoding": "br, gzip;q=0.8"})
        refused = world.client.get(path, headers={"Accept-Encoding": "gzip;q=0"})
        assert gzip.decompress(packed.data) == plain.data == refused.data
        assert len(packed.data) * 3 < len(plain.data)
        assert [answer.headers.get("Content-Encoding") for answer in (plain, packed, refused)] == [None, "gzip", None]
        assert {answer.headers["Vary"] for answer in (plain, packed)} == {"Accept-Encoding"}
    page = world.desk.get("/desk/", headers={"Accept-Encoding": "gzip"})
    assert (page.status_code, "Content-Encoding" in page.headers) == (200, False)


PAGES = (
    "/",
    "/feed.atom",
    "/subscribe",
    "/contact",
    "/privacy",
    "/nothing-here",
    "/editions/2026-W47",
    "/healthz",
    "/readyz",
    "/metrics",
)


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_is_closed_to_scripts_frames_and_sniffing_and_sets_no_cookie(world: Any, path: str) -> None:
    world.edition(state=EditionState.SENT)
    headers = world.client.get(path, headers={"Origin": "https://elsewhere.example"}).headers
    assert not [name for name, _ in headers if name.startswith("Access-Control")]
    assert "charset=utf-8" in headers["Content-Type"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in headers


def test_a_wrong_method_is_told_which_ones_there_are(world: Any) -> None:
    answer = world.client.delete("/privacy")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert "This page can’t do that" in answer.text


def test_the_privacy_page_says_for_how_long_each_mail_stays_listed(world: Any) -> None:
    assert "keep this for 400 days, and after that only how many" in world.client.get("/privacy").text


def test_the_privacy_page_names_other_installations_that_may_get_the_hashes(world: Any) -> None:
    assert "to another installation that sends our emails" in world.client.get("/privacy").text


def test_the_privacy_page_names_who_delivers_the_mail(world: Any) -> None:
    page = world.client.get("/privacy").text
    assert "this installation saves emails to files" in page
    assert "editors@news.example.org" in page
    assert "200 Example Street" in page


def test_the_page_for_words_to_the_editors_leads_to_them(world: Any) -> None:
    assert "mailto:editors@news.example.org" in world.client.get("/contact").text


INK, PAPER, DOT = (20, 24, 30), (255, 255, 255), (242, 150, 107)


def test_browsers_and_home_screens_find_an_icon(world: Any) -> None:
    page = lxml_html.document_fromstring(world.client.get("/").text)
    links = {link.get("href"): link.get("rel") for link in page.xpath("//link[contains(@rel, 'icon')]")}
    assert links == {"/favicon.ico": "icon", "/icon.svg": "icon", "/apple-touch-icon.png": "apple-touch-icon"}
    for path, size in (("/favicon.ico", 32), ("/apple-touch-icon.png", 180)):
        image = Image.open(io.BytesIO(world.client.get(path).data)).convert("RGB")
        assert image.size == (size, size)
        # The left stem of the H of HLS.Today, its crossbar, the gap above that, and the dot.
        places = {(0.02, 0.02): INK, (0.31, 0.5): PAPER, (0.44, 0.48): PAPER, (0.44, 0.3): INK, (0.8, 0.66): DOT}
        for (x, y), color in places.items():
            left, top = round(x * size), round(y * size)
            found = tuple(image.crop((left, top, left + 1, top + 1)).tobytes())
            assert max(abs(a - b) for a, b in zip(found, color, strict=True)) < 60, (path, x, y, found)


@pytest.mark.parametrize("path", ["/favicon.ico", "/apple-touch-icon.png"])
def test_an_icon_that_cannot_be_drawn_is_not_found(world: Any, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def fail(*_values: object) -> bytes:
        raise ImageError("the process was killed")

    monkeypatch.setattr("digest.app.site.icon._draw_icon", fail)
    answer = world.client.get(path)
    assert (answer.status_code, answer.headers["Cache-Control"], answer.data) == (404, "no-store", b"")


def test_a_letter_that_the_icons_font_lacks_is_left_out(world: Any) -> None:
    for letter in ("\N{ARABIC LETTER NOON}", ""):
        icon = Image.open(io.BytesIO(draw_icon(b"", letter=letter, dot_color="#F2966B", size=180).body)).convert("RGB")
        assert (icon.getpixel((4, 4)), icon.getpixel((90, 90))) == (INK, DOT)


@pytest.mark.parametrize(
    "path", ["/", "/editions", "/editions/2026-W47", "/topics", "/search", "/subscribe", "/privacy", "/contact"]
)
def test_every_public_page_describes_itself(world: Any, path: str) -> None:
    world.edition(state=EditionState.SENT)
    page = lxml_html.document_fromstring(world.client.get(path).text)
    (description,) = page.xpath("//meta[@name='description']/@content")
    assert 20 < len(description) <= 200


def test_the_home_describes_the_site_without_its_closed_search(world: Any) -> None:
    page = lxml_html.document_fromstring(world.client.get("/").text)
    data = json.loads(page.xpath("//script[@type='application/ld+json']")[0].text)
    assert (data["@type"], data["url"]) == ("WebSite", "https://news.example.org/")
    assert "potentialAction" not in data


def test_the_site_says_what_accessible_and_without_tracking_mean(world: Any) -> None:
    home = lxml_html.document_fromstring(world.client.get("/").text)
    assert home.xpath("//footer//a[.='Accessibility']/@href") == ["/privacy#accessibility"]
    page = lxml_html.document_fromstring(world.client.get("/privacy").text)
    accessible, untracked = (
        page.xpath(f"//section[@aria-labelledby='{name}']")[0] for name in ("accessibility", "not")
    )
    assert "level AA" in accessible.text_content()
    assert "so there’s no consent banner" in untracked.text_content()

"""Stories fetched by URL and images chosen by editors, with the real fetcher and the real child processes."""

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer
from sqlalchemy import delete, select

from digest.app.editing import changes as editing
from digest.app.editing import edit_history, editing_state, edition_images
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditRefusedError
from digest.app.editing.story_fetch import fetch_story
from digest.app.jobs import JobContext, run_job
from digest.collect.fetch.fetcher import FolderFetcher, HttpFetcher, build_user_agent
from digest.edition.content.edition_content import ImageCrops
from digest.edition.editing.edit_log import store_proposal
from digest.edition.editing.stored_proposal import pack_proposal
from digest.edition.edition_queries import find_edition
from digest.installation.opened_installation import Installation
from digest.settings import UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Edition, MediaFile
from tests.actors import EDITOR
from tests.edition.drafting.test_drafts import SAMPLE, WEEKLY, add, bodies, collected, drafted, sample_settings
from tests.moments import DRAFTING as NOW

FORM = EditForm("current", EDITOR, NOW)
PAGE = """<html lang="en"><head><title>Ferry deckhands get the drill they asked for</title>
<meta property="og:description" content="Crews train on the real stairs from now on."></head><body><article>
<h1>Ferry deckhands get the drill they asked for</h1><time datetime="2026-11-18T09:00:00Z">Nov 18</time>
<p>{}</p></article></body></html>""".format("Crews train on the real stairs from now on, said the line. " * 12)


@pytest.fixture
def install(one_database: Database) -> Installation:
    """Give an installation with a draft of one story."""
    add(one_database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    installation = Installation(WEEKLY, one_database)
    drafted(installation)
    return installation


@pytest.fixture
def sample(one_database: Database) -> Installation:
    """Give an installation with a draft of the bundled sample, pictures and all."""
    installation = collected(one_database, sample_settings())
    drafted(installation)
    return installation


def loopback() -> HttpFetcher:
    return HttpFetcher(
        UsageLimitSettings(allow_networks=["127.0.0.0/8"]), build_user_agent("https://news.example.org/")
    )


def jpeg(width: int = 800, height: int = 600) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def lead_entry(install: Installation) -> dict[str, object]:
    with install.database.read() as session:
        content = session.scalars(select(Edition)).one().content
    entry: dict[str, object] = content["sections"][0]["entries"][0]
    return entry


@pytest.mark.parametrize("url", ["http://{}/", "https://{}:8443/a", "http://{}/private"])
def test_the_answer_about_a_page_tells_nothing_of_the_names_of_a_private_network(
    install: Installation, url: str
) -> None:
    """An editor who tries names must not learn which are known here, nor where they lead."""
    names = {
        "intranet.example": ["10.1.2.3"],
        "metadata.example": ["169.254.169.254", "93.184.215.14"],
        "loop.example": ["::1"],
    }

    def resolve(host: str, _port: int) -> list[str]:
        if host not in names:
            raise OSError("Name or service not known")
        return names[host]

    said = {}
    for host in (*names, "nowhere.example", "10.1.2.3", "127.0.0.1"):
        agent = build_user_agent("https://news.example.org/")
        with (
            HttpFetcher(UsageLimitSettings(), agent, resolver=resolve) as fetcher,
            pytest.raises(EditRefusedError) as caught,
        ):
            fetch_story(install, "current", url.format(host), actor=EDITOR, now=NOW, fetcher=fetcher)
        said[host] = str(caught.value).replace(host, "HOST")
    assert len(set(said.values())) == 1, said
    assert "HOST can't be reached from here" in said["nowhere.example"]


def test_a_page_is_fetched_read_corrected_and_added(install: Installation, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data("User-agent: *\nDisallow: /private")
    httpserver.expect_request("/deckhands").respond_with_data(PAGE, content_type="text/html")
    address = httpserver.url_for("/deckhands?utm_source=feed")
    with loopback() as fetcher:
        found = fetch_story(install, "current", f" {address} ", actor=EDITOR, now=NOW, fetcher=fetcher)
    assert found.story_url == ""
    assert found.article["title"] == "Ferry deckhands get the drill they asked for"
    assert found.article["summary"].startswith("Crews train on the real stairs")
    assert found.article["url"] == httpserver.url_for("/deckhands")
    editing.add_written_story(install, FORM, found.article | {"title": "Deckhands drill"}, section="featured")
    with loopback() as fetcher:
        again = fetch_story(install, "current", address, actor=EDITOR, now=NOW, fetcher=fetcher)
    assert again.story_url == found.article["url"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/private/x", "robots.txt doesn't allow"),
        ("/gone", "load the page"),
        ("/empty", "read the page"),
        ("/feed", "find an article at this URL"),
    ],
)
def test_what_cannot_be_read_says_why_and_what_to_do(
    install: Installation, httpserver: HTTPServer, path: str, why: str
) -> None:
    feed = "<rss version='2.0'><channel><title>A</title><item><title>B</title><link>https://a.example/</link></item></channel></rss>"
    httpserver.expect_request("/robots.txt").respond_with_data("User-agent: *\nDisallow: /private")
    httpserver.expect_request("/gone").respond_with_data("", 410)
    httpserver.expect_request("/empty").respond_with_data("<html><body></body></html>", content_type="text/html")
    httpserver.expect_request("/feed").respond_with_data(feed, content_type="application/rss+xml")
    with loopback() as fetcher, pytest.raises(EditRefusedError, match=f"{why}.*write the story yourself"):
        fetch_story(install, "current", httpserver.url_for(path), actor=EDITOR, now=NOW, fetcher=fetcher)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/form", "it's password-protected"), ("/wall", "redirects to a sign-in page"), ("/old", "to the front page")],
)
def test_a_page_that_visitors_cannot_read_is_not_added(
    install: Installation, httpserver: HTTPServer, path: str, why: str
) -> None:
    form = '<form class="post-password-form"><input name="post_password" type="password"></form>'
    httpserver.expect_request("/robots.txt").respond_with_data("", 404)
    httpserver.expect_request("/form").respond_with_data(f"<body>{form}</body>", content_type="text/html")
    httpserver.expect_request("/wall").respond_with_data("", 302, headers={"Location": "/login"})
    httpserver.expect_request("/old").respond_with_data("", 301, headers={"Location": "/"})
    for target in ("/login", "/"):
        httpserver.expect_request(target).respond_with_data(PAGE, content_type="text/html")
    with loopback() as fetcher, pytest.raises(EditRefusedError, match=f"Visitors can't read this page: .*{why}"):
        fetch_story(install, "current", httpserver.url_for(path), actor=EDITOR, now=NOW, fetcher=fetcher)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "javascript:alert(1)", "", "a story"])
def test_only_a_web_address_is_fetched(install: Installation, address: str) -> None:
    with pytest.raises(EditRefusedError, match="isn't a URL"):
        fetch_story(install, "current", address, actor=EDITOR, now=NOW)


def test_a_page_of_the_machine_itself_is_never_fetched(install: Installation, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/deckhands").respond_with_data(PAGE, content_type="text/html")
    with pytest.raises(
        EditRefusedError, match=r"^Couldn.t reach the site: localhost can.t be reached from here.*digest\.toml\. Open"
    ):
        fetch_story(install, "current", httpserver.url_for("/deckhands"), actor=EDITOR, now=NOW)
    assert httpserver.log == []


def test_an_uploaded_picture_is_encoded_anew_and_shown_with_its_words(sample: Installation) -> None:
    url = editing_state.read_editing_state(sample, "current").arrangement.sections["featured"][0].url
    result = edition_images.upload_image(sample, FORM, url, jpeg(), alt=" A <b>crane</b> ", credit="Photo: us")
    assert result.edit is not None
    picture = lead_entry(sample)["picture"]
    assert isinstance(picture, dict)
    assert (picture["alt"], picture["credit"]) == ("A crane", "Photo: us")
    with sample.database.read() as session:
        media = session.get_one(MediaFile, picture["hash"])
        assert (media.width, media.height) == (1120, 630)
    edition_images.change_image_description(sample, FORM, url, alt="Another crane", credit="")
    described = lead_entry(sample)["picture"]
    assert described == picture | {"alt": "Another crane", "credit": ""}
    edition_images.hide_image(sample, FORM, url)
    assert lead_entry(sample)["picture"] is None
    for _ in range(3):
        edit_history.undo_own_last_edit(sample, FORM)
    own = lead_entry(sample)["picture"]
    assert isinstance(own, dict)
    assert own["hash"] != picture["hash"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"no picture", r"^This image can't be used: the file can't be read as an image\."),
        (jpeg(40, 30), "too small"),
    ],
)
def test_an_upload_that_is_no_usable_picture_is_refused_and_nothing_is_kept(
    install: Installation, body: bytes, why: str
) -> None:
    with pytest.raises(EditRefusedError, match=why):
        edition_images.upload_image(install, FORM, "https://a.example.org/early-border-news", body, alt="A", credit="")
    with install.database.read() as session:
        assert session.scalars(select(MediaFile.hash)).all() == []


def test_an_upload_without_a_description_is_refused(install: Installation) -> None:
    url = "https://a.example.org/early-border-news"
    with pytest.raises(EditRefusedError, match="no description"):
        edition_images.upload_image(install, FORM, url, jpeg(), alt="  ", credit="")


def test_the_picture_of_a_story_that_came_up_later_is_fetched_once_and_after_the_act(sample: Installation) -> None:
    state = editing_state.read_editing_state(sample, "current")
    assert edition_images.list_leads_missing_images(state) == ()
    lead = next(out.scored.story.lead for out in state.arrangement.left_out if out.scored.story.lead.image)
    pictures = {image: crops for image, crops in state.proposal.pictures.items() if image != lead.image}
    with sample.database.write() as session:
        edition = find_edition(session, state.name)
        store_proposal(session, edition, pack_proposal(replace(state.proposal, pictures=pictures)))
    placed = editing.place_stories(sample, FORM, lead.url, section="featured", after="")
    assert lead_entry(sample)["picture"] is None
    assert [a.url for a in edition_images.list_leads_missing_images(placed.state)] == [lead.url]
    assert edition_images.fetch_missing_images(sample, FORM, fetcher=FolderFetcher(SAMPLE)) == 1
    assert lead_entry(sample)["picture"] is not None
    assert edition_images.fetch_missing_images(sample, FORM, fetcher=FolderFetcher(SAMPLE)) == 0
    assert run_job(JobContext(sample, lambda: NOW), "fetch_pictures") == "0"
    replayed = editing_state.render_edition_preview(sample, "current")
    assert bodies(sample.database) == [(f.kind, f.name, f.body) for f in replayed.fragments]


def test_no_picture_is_asked_for_where_no_edition_waits_for_approval(one_database: Database) -> None:
    empty = Installation(WEEKLY, one_database)
    assert run_job(JobContext(empty, lambda: NOW), "fetch_pictures") == ""


def test_a_focus_point_changes_every_crop_of_a_picture_and_its_default_is_what_was(sample: Installation) -> None:
    story = editing_state.read_editing_state(sample, "current").arrangement.sections["featured"][0]
    before, focus = lead_entry(sample)["picture"], (0.9, 0.1)
    assert isinstance(before, dict)
    words = {"alt": before["alt"], "credit": before["credit"]}
    untouched = edition_images.change_image_description(sample, FORM, story.url, **words)
    assert untouched.edit is None
    result = edition_images.change_image_description(sample, FORM, story.url, **words, focus=focus)
    picture = lead_entry(sample)["picture"]
    assert isinstance(picture, dict)
    # The sample's picture has the lead's shape, so that only its other crops change.
    assert picture == before | {"focus": [0.9, 0.1]}
    old_cuts, cuts = image_of(untouched, story.url), image_of(result, story.url)
    assert (cuts.lead.focus, cuts.thumb.focus) == (focus, focus)
    assert cuts.thumb.hash != old_cuts.thumb.hash
    with sample.database.read() as session:
        files = [session.get_one(MediaFile, cut.hash) for cut in (cuts.lead, cuts.thumb)]
        assert [(file.width, file.height) for file in files] == [(1120, 630), (240, 160)]
    assert edition_images.change_image_description(sample, FORM, story.url, **words, focus=focus).edit is None
    # Other words leave the focus point as it is.
    edition_images.change_image_description(sample, FORM, story.url, alt="Another crane", credit="", focus=focus)
    assert lead_entry(sample)["picture"] == picture | {"alt": "Another crane", "credit": ""}
    edition_images.change_image_description(sample, FORM, story.url, **words)
    assert lead_entry(sample)["picture"] == before
    replayed = editing_state.render_edition_preview(sample, "current")
    assert bodies(sample.database) == [(f.kind, f.name, f.body) for f in replayed.fragments]


def image_of(result: EditResult, url: str) -> ImageCrops:
    arrangement = result.state.arrangement
    story = arrangement.find_story(url)
    assert story is not None
    return arrangement.pictures[story.placed.scored.story.lead.image or ""]


def test_a_focus_point_needs_the_uncropped_picture(sample: Installation) -> None:
    url = editing_state.read_editing_state(sample, "current").arrangement.sections["featured"][0].url
    with sample.database.write() as session:
        session.execute(delete(MediaFile).where(MediaFile.source_url.not_like("%#%")))
    with pytest.raises(EditRefusedError, match=r"The focus point can't be changed because .* Upload the image again\."):
        edition_images.change_image_description(sample, FORM, url, alt="A", credit="", focus=(0.1, 0.1))


def test_an_upload_comes_with_its_focus_point(sample: Installation) -> None:
    url = editing_state.read_editing_state(sample, "current").arrangement.sections["featured"][0].url
    edition_images.upload_image(sample, FORM, url, jpeg(), alt="A crane", credit="", focus=(0.25, 1.0))
    picture = lead_entry(sample)["picture"]
    assert isinstance(picture, dict)
    assert picture["focus"] == [0.25, 1.0]

"""The publisher's logo is stored clean, set in the settings, shown in emails and pages, and reported if it's missing."""

import hashlib
import io
import os
import re
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import ExifTags, Image, ImageDraw
from sqlalchemy import select

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.settings_checks import check_logo
from digest.app.settings.brand_images import (
    BrandImageRefusedError,
    name_uploaded_image,
    replace_brand_images,
    store_brand_image,
)
from digest.app.settings.setting_changes import change_settings
from digest.cli import digest as digest_command
from digest.collect.imaging.encoded_image import LOWEST_LOGO, TALLEST_LOGO, WIDEST_LOGO
from digest.edition.brand_images import find_logo_problems
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.installation.opened_installation import Installation
from digest.settings import BrandingSettings, load_settings
from digest.settings.branding import LOGO_NAME
from digest.settings.table_values import SettingsValueError, fingerprint_values
from digest.store.engine import Database
from digest.store.models import MediaFile
from digest.web.app import create_app
from subscribers.crypto.keys import KeyRing
from tests.actors import ADMIN
from tests.moments import AFTER_RELEASE as NOW

BRANDING = '[publication]\nname = "Vigie"\n[branding]\nlogo = "vigie-light.png"\nlogo_dark = "vigie-dark.png"\n'


def draw_logo(colour: str, size: tuple[int, int] = (448, 120), ground: str = "#00000000") -> bytes:
    image = Image.new("RGBA", size, ground)
    ImageDraw.Draw(image).ellipse((4, 4, size[1] - 4, size[1] - 4), fill=colour)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def install(one_database: Database, tmp_path: Path) -> Installation:
    file = tmp_path / "digest.toml"
    file.write_text('[publication]\nname = "Vigie"\n')
    environment = {"DIGEST_HOME": str(tmp_path), "DIGEST_BASE_URL": "https://news.example.org"}
    installation = Installation(load_settings(file, environment), one_database)
    KeyRing.create(installation.settings.key_file)
    return installation


def rewrite(install: Installation, text: str) -> None:
    file = install.settings.origin
    assert file is not None
    file.write_text(text)
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))


def test_an_uploaded_logo_is_named_by_all_of_its_hash() -> None:
    """Two files with the same first digits would share a name, and the second would replace the first in silence."""
    body = draw_logo("#0B4F8A")
    name = name_uploaded_image("A very long name of a file, as a camera or a designer may give it.png", body)
    assert hashlib.sha256(body).hexdigest() in name
    assert LOGO_NAME.fullmatch(name)


def test_a_logo_goes_from_its_file_into_mail_and_pages(install: Installation, full_content: EditionContent) -> None:
    app = create_app(install)
    assert "<i>.</i>" not in app.test_client().get("/").text
    rewrite(install, BRANDING)
    assert [f.level for f in check_logo(ExaminedInstallation(install))] == ["error"]
    for name, colour in (("vigie-light.png", "#00606B"), ("vigie-dark.png", "#6FD0DB")):
        assert (kept := store_brand_image(install, ADMIN, name, draw_logo(colour), now=NOW)).width == 112
        assert kept.name == name
    assert not list(check_logo(ExaminedInstallation(install)))
    logo = install.settings.logo
    assert logo is not None
    with install.database.read() as session:
        row = session.get_one(MediaFile, logo.light)
        with Image.open(io.BytesIO(row.body)) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (448, 120), "RGBA")
            corner = image.getpixel((447, 0))
            assert isinstance(corner, tuple)
            assert corner[3] == 0, "what is transparent stays so"
    pieces = render_edition(
        full_content, build_publication_context(install.settings), create_mail_environment(install.settings)
    )
    html = join_fragments(pieces, "html").text
    assert f'src="https://news.example.org/media/{logo.light}" width="112" height="30" alt="Vigie"' in html
    assert html.count(f"/media/{logo.dark}") == 1
    assert html.count("logo-d{display:block!important}") == 2, "by its own scheme, and in Outlook.com's"
    page = app.test_client().get("/").text
    assert f'srcset="/media/{logo.dark}" width="112" height="30"' in page
    assert f'<img src="/media/{logo.light}" width="112" height="30" alt="Vigie">' in page
    assert app.test_client().get(f"/media/{logo.light}").mimetype == "image/png"


def test_a_second_logo_of_a_name_takes_the_place_of_the_first(install: Installation) -> None:
    rewrite(install, BRANDING)
    for minute, colour in enumerate(("#111111", "#222222", "#111111")):
        for name in ("vigie-light.png", "vigie-dark.png"):
            logo_bytes = draw_logo(colour, size=(300 + len(name), 90))
            store_brand_image(install, ADMIN, name, logo_bytes, now=NOW + timedelta(minutes=minute))
    logo = install.settings.logo
    assert logo is not None
    with (
        install.database.read() as session,
        Image.open(io.BytesIO(session.get_one(MediaFile, logo.dark).body)) as image,
    ):
        assert image.getpixel((45, 45)) == (0x11, 0x11, 0x11, 255)
    with pytest.raises(BrandImageRefusedError, match=r"is the same image as vigie-dark\.png, which is already stored"):
        store_brand_image(install, ADMIN, "other.png", draw_logo("#111111", size=(314, 90)), now=NOW)


@pytest.mark.parametrize("logo_height", [LOWEST_LOGO, 30, TALLEST_LOGO])
def test_a_wide_logo_is_shown_as_high_as_the_widest_may_be(install: Installation, logo_height: int) -> None:
    rewrite(install, f'[branding]\nlogo = "wide.png"\nlogo_dark = "wide.png"\nlogo_height = {logo_height}\n')
    store_brand_image(install, ADMIN, "wide.png", draw_logo("#111111", size=(1350, 90)), now=NOW)
    logo = install.settings.logo
    assert logo is not None
    assert (logo.light_width, logo.light_height) == (WIDEST_LOGO, LOWEST_LOGO)


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        (
            "wide.png",
            draw_logo("#000000", (1400, 90)),
            "even at 20 pixels high, the image would be 311 pixels wide, more than the limit of 300",
        ),
        (
            "low.png",
            draw_logo("#000000", (100, 40)),
            "100 x 40 pixels isn't tall enough (at least 60 pixels is required)",
        ),
        (
            "drawn.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "email apps can't show SVG files or web pages; save the image as PNG or JPEG",
        ),
        ("a logo.png", draw_logo("#000000"), "'a logo.png' can't be used in [branding]"),
    ],
)
def test_what_cannot_be_the_logo_is_refused_in_a_sentence(
    install: Installation, name: str, body: bytes, says: str
) -> None:
    with pytest.raises(BrandImageRefusedError) as refused:
        store_brand_image(install, ADMIN, name, body, now=NOW)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_command_keeps_it_and_says_its_size(install: Installation, tmp_path: Path) -> None:
    file = tmp_path / "mark.png"
    file.write_bytes(draw_logo("#00606B"))
    environment = {"DIGEST_HOME": str(tmp_path), "DIGEST_SETTINGS": str(tmp_path / "digest.toml")}
    install.database.close()
    kept = CliRunner().invoke(digest_command, ["media", "add", str(file)], env=environment)
    assert (kept.exit_code, kept.output.splitlines()[0]) == (0, "mark.png: stored, 112 x 30 pixels in the masthead")


UNSEEN_LIGHT = "Almost none of the logo in branding.logo can be seen on the page background #FFFFFF"
FAINT_LIGHT = "Most of the logo in branding.logo is hard to see on the page background #FFFFFF"
UNSEEN_DARK = "Almost none of the logo in branding.logo_dark can be seen on the page background #12161C"


@pytest.mark.parametrize(
    ("light", "dark", "background", "says"),
    [
        ("#00606B", "#6FD0DB", "#FFFFFF", []),
        ("#FFFFFF", "#FFFFFF", "#FFFFFF", [("error", UNSEEN_LIGHT)]),
        ("#00606B", "#101010", "#FFFFFF", [("error", UNSEEN_DARK)]),
        ("#F2A63B", "#F2A63B", "#FFFFFF", [("warning", FAINT_LIGHT)]),
        ("#101010", "#6FD0DB", "#FFFFFF", [("warning", "Almost none of the logo in branding.logo can be seen on #12161C.")]),
        ("#101010", "#FFFFFF", "#15130F", []),
        ("#FFFFFF", "#101010", "#15130F", [("error", UNSEEN_DARK.replace("#12161C", "#15130F"))]),
    ],
)  # fmt: skip
def test_a_logo_that_cannot_be_seen_on_its_background_is_named(
    install: Installation, light: str, dark: str, background: str, says: list[tuple[str, str]]
) -> None:
    rewrite(install, f'{BRANDING}background = "{background}"\n')
    for name, colour, width in (("vigie-light.png", light, 448), ("vigie-dark.png", dark, 449)):
        store_brand_image(install, ADMIN, name, draw_logo(colour, (width, 120)), now=NOW)
    findings = list(check_logo(ExaminedInstallation(install)))
    assert len(findings) == len(says)
    for finding, (level, words) in zip(findings, says, strict=True):
        assert (finding.level, finding.message[: len(words)]) == (level, words)
        assert finding.remedy


@pytest.mark.parametrize(
    ("colour", "ground", "says"),
    [
        ("#14181E", "#FFFFFF", []),  # letters in a white box
        ("#FFFFFF", "#0B4F8A", []),  # a badge
        ("#F2F4F6", "#FFFFFF", ["error"]),
    ],
)
def test_a_logo_with_a_background_of_its_own_is_read_on_it(
    install: Installation, colour: str, ground: str, says: list[str]
) -> None:
    for name, width in (("vigie-light.png", 448), ("vigie-dark.png", 449)):
        store_brand_image(install, ADMIN, name, draw_logo(colour, (width, 120), ground), now=NOW)
    with install.read() as session:
        problems = find_logo_problems(session, BrandingSettings(logo="vigie-light.png", logo_dark="vigie-dark.png"))
        assert [problem.level for problem in problems] == says


def test_settings_with_a_logo_that_cannot_be_seen_are_not_saved(install: Installation) -> None:
    uploads = {"logo": ("white.png", draw_logo("#FFFFFF")), "logo_dark": ("dark.png", draw_logo("#6FD0DB"))}
    fingerprint = fingerprint_values(install.settings.file.branding)
    with pytest.raises(
        BrandImageRefusedError, match=r"can be seen on the page background #FFFFFF\. Use a darker version"
    ):
        replace_brand_images(install, ADMIN, uploads, fingerprint=fingerprint, now=NOW)
    assert install.settings.file.branding.logo == ""
    with install.read() as session:
        assert session.scalars(select(MediaFile.source_url)).all() == []
    for name, body in uploads.values():
        store_brand_image(install, ADMIN, name_uploaded_image(name, body), body, now=NOW)
    stored = {"logo": name_uploaded_image(*uploads["logo"]), "logo_dark": name_uploaded_image(*uploads["logo_dark"])}
    with pytest.raises(SettingsValueError) as refused:
        change_settings(install, ADMIN, "branding", stored, fingerprint=fingerprint, now=NOW)
    assert list(refused.value.problems) == ["logo"]
    seen = uploads | {"logo": ("ink.png", draw_logo("#00606B"))}
    assert replace_brand_images(install, ADMIN, seen, fingerprint=fingerprint, now=NOW)


def test_another_page_background_changes_the_logo(install: Installation) -> None:
    rewrite(install, BRANDING)
    for name, colour in (("vigie-light.png", "#00606B"), ("vigie-dark.png", "#6FD0DB")):
        store_brand_image(install, ADMIN, name, draw_logo(colour), now=NOW)
    logo = install.settings.logo
    assert logo is not None
    assert logo.light != logo.dark
    rewrite(install, f'{BRANDING}background = "#000000"\n')
    on_black = install.settings.logo
    assert on_black is not None
    assert on_black.light == on_black.dark == logo.dark


@pytest.mark.parametrize(
    ("size", "shown"),
    [((448, 120), (224, 60)), ((780, 120), (300, 46)), ((120, 120), (60, 60))],
)
def test_a_logo_is_at_most_60_pixels_high_and_300_wide(
    install: Installation, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    rewrite(install, f"{BRANDING}logo_height = 60\n")
    for name, colour in (("vigie-light.png", "#00606B"), ("vigie-dark.png", "#6FD0DB")):
        kept = store_brand_image(install, ADMIN, name, draw_logo(colour, size), now=NOW)
        assert (kept.width, kept.height) == shown
    logo = install.settings.logo
    assert logo is not None
    assert (logo.light_width, logo.light_height) == (logo.dark_width, logo.dark_height) == shown


def test_a_header_image_is_stored_by_command_and_shown_above_the_masthead(
    install: Installation, tmp_path: Path, full_content: EditionContent
) -> None:
    picture = tmp_path / "skyline.jpg"
    Image.new("RGB", (1500, 250), "#336699").save(picture)
    kept = store_brand_image(install, ADMIN, picture.name, picture.read_bytes(), kind="header", now=NOW)
    assert (kept.width, kept.height) == (560, 94)
    rewrite(install, '[branding]\nheader = "other.jpg"\n')
    assert [f.level for f in check_logo(ExaminedInstallation(install))] == ["error"]
    rewrite(install, '[branding]\nheader = "skyline.jpg"\n')
    assert not list(check_logo(ExaminedInstallation(install)))
    header = install.settings.header
    assert header is not None
    frame, environment = build_publication_context(install.settings), create_mail_environment(install.settings)
    html = join_fragments(render_edition(full_content, frame, environment), "html").text
    assert f'src="https://news.example.org/media/{header.image}" width="560" height="94" alt=""' in html
    assert html.index(header.image) < html.index("<h1")
    page = create_app(install).test_client().get("/subscribe").text
    assert f'<img class="header" src="/media/{header.image}" width="560" height="94" alt="">' in page


@pytest.mark.parametrize(
    ("size", "orientation", "says"),
    [
        ((2000, 1000), 1, "2000 x 1000 pixels is too tall; crop the image so that it's at least 4 times as wide as it's tall"),
        ((300, 50), 1, "300 x 50 pixels isn't wide enough (at least 560 pixels is required)"),
        ((500, 1200), 1, "500 x 1200 pixels isn't wide enough"),
        ((1120, 200), 6, "200 x 1120 pixels isn't wide enough"),
        ((4000, 80), 1, "4000 x 80 pixels isn't tall enough; use an image at most 40 times as wide as it's tall"),
        ((280, 1120), 6, ""),
        ((1120, 280), 1, ""),
        ((560, 14), 1, ""),
    ],
)  # fmt: skip
def test_a_header_image_is_judged_by_the_size_of_the_uploaded_file(
    install: Installation, size: tuple[int, int], orientation: int, says: str
) -> None:
    out, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", size, "#336699").save(out, "JPEG", exif=exif)
    with pytest.raises(BrandImageRefusedError, match=re.escape(says)) if says else nullcontext():
        store_brand_image(install, ADMIN, "skyline.jpg", out.getvalue(), kind="header", now=NOW)

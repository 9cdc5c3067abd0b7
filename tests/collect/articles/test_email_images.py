"""Images: hostile bytes come in, small clean ones are stored once."""

import io
import random
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from typing import Unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from sqlalchemy import select

from digest.collect.articles.email_images import (
    PreparedImage,
    crop_stored_image,
    delete_stored_image,
    draw_social_card,
    fetch_image,
    find_image,
    find_uncropped_image,
    store_image,
)
from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult, RequestOptions
from digest.collect.imaging.encoded_image import CropShape, FocusPoint, ImageError, SocialCardTexts
from digest.collect.imaging.image_codec import decode_image, encode_image
from digest.settings import UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import MediaFile
from tests.conftest import ROOT
from tests.moments import AFTER_RELEASE as NOW

URL = "https://press.example.org/photo.jpg"


class Site:
    """A fetcher that returns one body for every address, and counts."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked: list[tuple[str, int | None]] = []

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        self.asked.append((url, options.get("max_bytes")))
        if not self.body:
            raise FetchError(url, FetchErrorReason.MISSING, "nothing is there", status=404)
        return FetchResult(url=url, status=200, body=self.body, content_type="image/jpeg")

    def may_read(self, url: str) -> bool:
        return bool(url)


def written(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(width: int, height: int) -> Image.Image:
    """The hardest picture to make small."""
    return Image.frombytes("RGB", (width, height), random.Random(7).randbytes(width * height * 3))


def photo(width: int, height: int) -> Image.Image:
    """A picture with soft colours and a little noise, as photographs have."""
    across = Image.linear_gradient("L").resize((width, height))
    down = across.transpose(Image.Transpose.ROTATE_180)
    soft = Image.merge("RGB", (across, down, across.point(lambda value: 255 - value // 2)))
    return Image.blend(soft, noise(width, height), 0.08)


def graphic(width: int, height: int) -> Image.Image:
    """A chart: few colours, sharp edges."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for place in range(0, width, 10):
        colour = "navy" if place % 20 else "firebrick"
        draw.rectangle((place, height - place * height // width, place + 7, height), fill=colour)
    return image


def image_of(body: bytes, **limits: int) -> PreparedImage:
    return fetch_image(Site(body), URL, UsageLimitSettings.model_validate(limits))


def opened(picture: PreparedImage) -> Image.Image:
    return Image.open(io.BytesIO(picture.body))


def bomb_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_every_usual_kind_becomes_a_small_jpeg(kind: str) -> None:
    picture = image_of(written(photo(1600, 900), kind))
    assert (picture.content_type, picture.width, picture.height) == ("image/jpeg", 1200, 675)
    assert len(picture.body) <= 200_000
    assert opened(picture).format == "JPEG"
    assert opened(picture).size == (1200, 675)


def test_the_hardest_picture_fits_by_quality_and_then_by_size() -> None:
    picture = image_of(written(noise(1500, 1500), "JPEG", quality=60))
    assert len(picture.body) <= 200_000
    assert picture.width < 1200
    assert picture.width == picture.height


def test_a_small_picture_is_not_enlarged() -> None:
    picture = image_of(written(photo(300, 200)))
    assert (picture.width, picture.height) == (300, 200)


def test_a_graphic_of_few_colours_stays_exact_as_png() -> None:
    chart = graphic(800, 400)
    picture = image_of(written(chart, "PNG"))
    assert picture.content_type == "image/png"
    assert opened(picture).convert("RGB").tobytes() == chart.tobytes()


def test_the_orientation_is_applied_and_no_metadata_left() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    exif[0x010F] = "Camera of Cy"
    image = photo(400, 200)
    body = written(image, exif=exif, comment=b"secret comment", icc_profile=b"x" * 200, dpi=(300, 300))
    picture = image_of(body)
    assert (picture.width, picture.height) == (200, 400)
    assert not opened(picture).getexif()
    assert not {"comment", "icc_profile", "exif", "xmp"} & set(opened(picture).info)
    assert b"Camera" not in picture.body
    assert b"secret" not in picture.body


def test_a_png_keeps_no_metadata_either() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "Cy")
    picture = image_of(written(graphic(400, 200), "PNG", pnginfo=info, dpi=(300, 300)))
    assert picture.content_type == "image/png"
    assert not opened(picture).info


@pytest.mark.parametrize(("mode", "clear"), [("RGBA", (200, 0, 0, 0)), ("LA", (0, 0))])
def test_what_is_transparent_becomes_white(mode: str, clear: tuple[int, ...]) -> None:
    picture = image_of(written(Image.new(mode, (200, 100), clear), "PNG"))
    assert opened(picture).convert("RGB").getpixel((50, 50)) == (255, 255, 255)


def test_a_palette_with_a_transparent_colour_becomes_white() -> None:
    image = Image.new("P", (200, 100), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    picture = image_of(written(image, "PNG", transparency=1))
    assert opened(picture).convert("RGB").getpixel((50, 50)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    body = written(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, loop=0)
    pixel = opened(image_of(body)).convert("RGB").getpixel((50, 50))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 240
    assert max(pixel[1:]) < 15


@pytest.mark.parametrize(("mode", "colour"), [("CMYK", (0, 0, 0, 0)), ("L", 255), ("1", 1), ("I;16", 65535)])
def test_other_kinds_of_pixels_are_read(mode: str, colour: int | tuple[int, ...]) -> None:
    image = Image.new(mode, (200, 100), colour)
    picture = image_of(written(image, "JPEG" if mode == "CMYK" else "PNG"))
    assert opened(picture).convert("RGB").getpixel((50, 50)) == (255, 255, 255)


def test_grey_of_sixteen_bits_keeps_its_middle() -> None:
    picture = image_of(written(Image.new("I;16", (200, 100), 0x8080), "PNG"))
    assert opened(picture).convert("RGB").getpixel((50, 50)) == (128, 128, 128)


@pytest.mark.parametrize(
    "body",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' width='500' height='300'><script>alert(1)</script></svg>",
        b"\xef\xbb\xbf <?xml version='1.0'?><svg/>",
        b"<!DOCTYPE html><html>no picture</html>",
    ],
)
def test_svg_and_pages_are_refused(body: bytes) -> None:
    with pytest.raises(ImageError, match="SVG"):
        image_of(body)


@pytest.mark.parametrize("size", [(1, 1), (119, 500), (500, 59), (6000, 100)])
def test_tracking_pixels_icons_and_rules_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="too small"):
        image_of(written(Image.new("RGB", size, "red"), "PNG"))


@pytest.mark.parametrize(("width", "height"), [(7000, 7000), (12_000, 12_000), (30_000, 30_000), (2**31 - 1, 1)])
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    with pytest.raises(
        ImageError, match=r"(over the limit of|more than) 40,000,000( pixels)?; save a smaller (image|one)$"
    ):
        image_of(bomb_png(width, height))


def test_the_limit_on_pixels_is_the_one_of_the_settings() -> None:
    body = written(photo(300, 200))
    assert image_of(body, image_pixels=60_000).width == 300
    with pytest.raises(ImageError, match="300 x 200 pixels is over the limit of 59,999; save a smaller image"):
        image_of(body, image_pixels=59_999)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    body = written(photo(400, 300), kind)
    with pytest.raises(ImageError, match="the file can't be read as an image"):
        image_of(body[: len(body) // 2])


MEASURE = """
import sys
from benchmarks.peak_memory import peak_memory_mb
from digest.collect.imaging.encoded_image import ImageError
from digest.collect.imaging.image_codec import fit_image
before = peak_memory_mb()
try:
    fitted = fit_image(sys.stdin.buffer.read(), max_pixels=40_000_000)
    said = f"{fitted.width} x {fitted.height}"
except ImageError as error:
    said = str(error)
print(peak_memory_mb() - before, said, sep="|")
"""


@pytest.mark.parametrize(
    ("kind", "mode", "options", "result"),
    [
        ("WEBP", "RGBA", {"method": 0}, "8000 x 5000 pixels is over the limit of 16,000,000"),
        ("PNG", "P", {}, "8000 x 5000 pixels is over the limit of 16,000,000"),
        ("JPEG", "RGB", {"quality": 20}, "1200 x 750"),
        ("JPEG", "RGB", {"quality": 20, "progressive": True}, "1200 x 750"),
    ],
    ids=["webp", "png", "jpeg", "progressive jpeg"],
)
def test_a_small_file_of_40_million_pixels_takes_little_memory(
    kind: str, mode: str, options: dict[str, object], result: str
) -> None:
    body = written(Image.new(mode, (8000, 5000)), kind, **options)
    assert len(body) < 700_000
    command = [sys.executable, "-c", MEASURE]
    run = subprocess.run(command, input=body, capture_output=True, check=True, cwd=ROOT)
    megabytes, _, said = run.stdout.decode().partition("|")
    assert result in said
    assert float(megabytes) < 200


def test_the_largest_webp_that_is_decoded_stays_within_a_childs_memory() -> None:
    assert image_of(written(Image.new("RGBA", (5000, 3200), (1, 2, 3, 90)), "WEBP", method=0)).width == 1200


SEEDS = [written(photo(160, 120), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP")]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=12))
def test_damaged_bytes_give_a_picture_or_its_own_error(seed: bytes, damage: list[tuple[int, int]]) -> None:
    body = bytearray(seed)
    for place, value in damage:
        body[place % len(body)] = value
    try:
        image = decode_image(bytes(body), max_pixels=1_000_000, max_size=(1200, 2400))
    except ImageError:
        return
    assert image.mode == "RGB"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_picture_or_its_own_error(body: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(body, max_pixels=1_000_000, max_size=(1200, 2400))


def test_the_same_bytes_give_the_same_picture() -> None:
    body = written(photo(1400, 900), "PNG")
    assert image_of(body) == image_of(body)


def test_the_bounds_are_handed_to_the_fetch_and_its_errors_come_through() -> None:
    site = Site(written(photo(300, 200)))
    fetch_image(site, URL, UsageLimitSettings(image_bytes=123_456))
    assert site.asked == [(URL, 123_456)]
    with pytest.raises(FetchError):
        fetch_image(Site(b""), URL, UsageLimitSettings())


@pytest.mark.parametrize("size", [(1200, 675), (1200, 2400), (2000, 400), (120, 60)])
@pytest.mark.parametrize("draw", [noise, photo, graphic])
def test_the_cuts_have_their_size_and_weight(draw: object, size: tuple[int, int]) -> None:
    assert callable(draw)
    body = written(draw(*size), "JPEG", quality=60)
    lead, thumb = crop_stored_image(URL, body, CropShape.LEAD).body, crop_stored_image(URL, body, CropShape.THUMB).body
    assert Image.open(io.BytesIO(lead)).size == (1120, 630)
    assert Image.open(io.BytesIO(thumb)).size == (240, 160)
    assert len(lead) <= 120_000
    assert len(thumb) <= 30_000


def test_a_cut_covers_and_is_not_squeezed() -> None:
    image = Image.new("RGB", (600, 1200), "white")
    ImageDraw.Draw(image).ellipse((200, 420, 400, 620), fill="black")
    cropped = Image.open(io.BytesIO(crop_stored_image(URL, written(image), CropShape.LEAD).body)).convert("L")
    box = cropped.point(lambda value: 255 - value).point(lambda value: 255 if value > 128 else 0).getbbox()
    assert box is not None
    assert abs((box[2] - box[0]) - (box[3] - box[1])) <= 6  # still a circle


def test_a_cut_of_no_picture_is_a_picture_error() -> None:
    with pytest.raises(ImageError):
        crop_stored_image(URL, b"no picture", CropShape.LEAD)


def test_a_kept_picture_is_found_again_by_its_address(database: Database) -> None:
    picture = image_of(written(photo(300, 200)))
    with database.write() as session:
        assert find_image(session, URL) is None
        store_image(session, picture, NOW)
        for shape in CropShape:
            store_image(session, crop_stored_image(URL, picture.body, shape), NOW)
    with database.read() as session:
        whole, lead = find_image(session, URL), find_image(session, f"{URL}#lead")
        assert whole is not None
        assert lead is not None
        assert (whole.hash, whole.body, whole.size) == (picture.hash, picture.body, len(picture.body))
        assert (whole.width, whole.height, whole.content_type, whole.made_at) == (300, 200, "image/jpeg", NOW)
        assert (lead.width, lead.height) == (1120, 630)
        assert find_image(session, f"{URL}#thumb") is not None


@pytest.mark.takes_turns
def test_the_same_bytes_are_kept_once(database: Database) -> None:
    body = written(photo(300, 200))
    first = image_of(body)
    other = fetch_image(Site(body), "https://cdn.example.org/same.jpg", UsageLimitSettings())
    with database.write() as session:
        assert store_image(session, first, NOW) is store_image(session, other, NOW)


def test_lowering_the_quality_comes_before_shrinking() -> None:
    image = photo(1200, 800)
    whole = encode_image(image, 10_000_000)
    assert encode_image(image, len(whole.body) - 1).width == 1200


def spotted(width: int, height: int, focus: FocusPoint) -> bytes:
    """A white picture with a black spot at its focus point."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).circle((width * focus[0], height * focus[1]), 30, fill="black")
    return written(image)


def spot_of(picture: Image.Image) -> tuple[float, float]:
    """Give the middle of the black spot, as fractions of the picture."""
    box = picture.convert("L").point(lambda value: 255 if value < 128 else 0).getbbox()
    assert box is not None
    return (box[0] + box[2]) / 2 / picture.width, (box[1] + box[3]) / 2 / picture.height


@pytest.mark.parametrize("size", [(1200, 675), (600, 1200), (2000, 400)])
@pytest.mark.parametrize("focus", [(0.5, 0.5), (0.1, 0.9), (0.85, 0.15)])
@pytest.mark.parametrize("shape", CropShape)
def test_a_focus_point_is_at_the_same_place_of_every_crop(
    shape: CropShape, focus: FocusPoint, size: tuple[int, int]
) -> None:
    crop = crop_stored_image(URL, spotted(*size, focus), shape, focus)
    assert spot_of(opened(crop)) == pytest.approx(focus, abs=0.03)
    assert crop.source_url == f"{URL}#{shape}@{focus[0]},{focus[1]}"


def test_the_card_shows_the_focus_point_of_a_crop() -> None:
    focus = (0.9, 0.5)
    lead = crop_stored_image(URL, spotted(2000, 400, focus), CropShape.LEAD, focus)
    words = SocialCardTexts("A", "No. 1", "B")
    right = (760, 14, 1200, 630)
    assert spot_of(opened(draw_social_card("", lead.body, words, focus)).crop(right)) == pytest.approx(focus, abs=0.03)
    unfocused = opened(draw_social_card("", lead.body, words)).crop(right)
    assert min(unfocused.convert("L").tobytes()) > 200


def test_a_picture_is_found_by_its_crops_and_they_go_with_it(database: Database) -> None:
    picture, focus = image_of(written(photo(300, 200))), (0.25, 0.75)
    crop = crop_stored_image(URL, picture.body, CropShape.THUMB, focus)
    other = replace(image_of(written(photo(310, 200))), source_url=f"{URL}#thumb-of-another-picture")
    with database.write() as session:
        for each in (picture, crop, other):
            store_image(session, each, NOW)
        row = find_uncropped_image(session, crop.hash)
        assert row is not None
        assert row.hash == picture.hash
        assert find_uncropped_image(session, picture.hash) is None
        delete_stored_image(session, URL)
        assert find_uncropped_image(session, crop.hash) is None
        assert [row.hash for row in session.scalars(select(MediaFile))] == [other.hash]

"""Converting untrusted images: they're decoded within limits and re-encoded without metadata.

On one machine, the same input gives the same output. Other builds of the codecs may differ. Color
profiles are dropped rather than applied. Wide-gamut photos become a little paler as a result, but
hostile profiles are never read.
"""

import io
import warnings
from collections import Counter

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from digest.collect.imaging.encoded_image import (
    DEFAULT_FOCUS,
    HEADER_WIDTH,
    LOGO_HEIGHT,
    LOWEST_LOGO,
    TALLEST_LOGO,
    WIDEST_LOGO,
    CropShape,
    EncodedImage,
    FocusPoint,
    ImageError,
    LogoColors,
)

# Pillow's other readers are older, less common, and less tested.
READABLE_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
MAX_WIDTH = 1200  # pixels; twice the width of an email's column
MAX_HEIGHT = 2400  # pixels
MAX_IMAGE_BYTES = 200_000  # bytes
MIN_WIDTH = 120  # pixels; narrower images are icons and tracking pixels
MIN_HEIGHT = 60  # pixels; lower images are rules and spacers
MIN_LOGO_PIXELS, LOGO_PIXELS = 2 * LOGO_HEIGHT, 2 * TALLEST_LOGO  # pixels; twice the displayed height
MIN_HEADER_RATIO, MAX_HEADER_RATIO = 4, 40  # a taller image would push the news off the first screen
MAX_HEADER_BYTES = 60_000
_OPAQUE = 128  # minimum alpha (of 255) of an opaque pixel


_CROP_SIZES = {  # size in pixels; preferred bytes, for which the quality is lowered a little; maximum bytes
    CropShape.LEAD: ((1120, 630), 50_000, 120_000),
    CropShape.THUMB: ((240, 160), 30_000, 30_000),
}
_JPEG_QUALITIES = (84, 76, 68, 60)
_LOWER_JPEG_QUALITIES = (60, 50, 40, 30, 20, 10)  # only for fixed sizes, in which even noise must fit
_MAX_DRAWING_COLORS = 16_384  # drawings with soft edges have fewer, photographs many more
_MAX_DECODED_PIXELS = 16_000_000  # WebP takes 17 bytes per pixel, which adds up to 270 MB
_MARKUP_STARTS = (b"<svg", b"<?xml", b"<!doctype", b"<html")


def fit_image(body: bytes, *, max_pixels: int) -> EncodedImage:
    """Shrink an image for use in emails, to at most 1200 pixels wide and 200 KB.

    Raises:
        ImageError: the image is unusable: SVG, broken, too many pixels, or too small to show.
    """
    image = decode_image(body, max_pixels=max_pixels, max_size=(MAX_WIDTH, MAX_HEIGHT))
    if image.width < MIN_WIDTH or image.height < MIN_HEIGHT:
        raise ImageError(
            f"{image.width} x {image.height} pixels is too small (at least {MIN_WIDTH} x {MIN_HEIGHT} is required)"
        )
    return encode_image(image, MAX_IMAGE_BYTES)


def fit_logo(body: bytes, *, max_pixels: int) -> EncodedImage:
    """Shrink a logo for use in emails, to a PNG at most `LOGO_PIXELS` high that keeps its transparency.

    Raises:
        ImageError: the logo is unusable: SVG, broken, too many pixels, too low to be sharp, or
            too wide for the masthead.
    """
    image = _read_image(body, max_pixels=max_pixels, max_size=(LOGO_PIXELS * 40, LOGO_PIXELS))
    if image.height < MIN_LOGO_PIXELS:
        raise ImageError(
            f"{image.width} x {image.height} pixels isn't tall enough (at least {MIN_LOGO_PIXELS} pixels is required)"
        )
    if image.width * LOWEST_LOGO > image.height * WIDEST_LOGO:
        shown_width = round(image.width * LOWEST_LOGO / image.height)
        raise ImageError(
            f"even at {LOWEST_LOGO} pixels high, the image would be {shown_width} pixels wide, more than the "
            f"limit of {WIDEST_LOGO}"
        )
    image.info = {}
    colors = image.convert("RGBA")
    return EncodedImage(_encoded_bytes(colors, "PNG", optimize=True), "image/png", *colors.size)


def fit_header(body: bytes, *, max_pixels: int) -> EncodedImage:
    """Shrink an image for use above the masthead, to at most 1120 pixels wide and 60 KB.

    Transparent parts become white.

    Raises:
        ImageError: the image is unusable, too narrow to be sharp, too tall, or not tall enough.
    """
    image = decode_image(body, max_pixels=max_pixels, max_size=(2 * HEADER_WIDTH, 2 * HEADER_WIDTH // MIN_HEADER_RATIO))
    width, height = _read_upright_size(body)
    if width < HEADER_WIDTH:
        raise ImageError(f"{width} x {height} pixels isn't wide enough (at least {HEADER_WIDTH} pixels is required)")
    if width < height * MIN_HEADER_RATIO:
        raise ImageError(
            f"{width} x {height} pixels is too tall; crop the image so that it's at least {MIN_HEADER_RATIO} "
            "times as wide as it's tall"
        )
    if width > height * MAX_HEADER_RATIO:
        raise ImageError(
            f"{width} x {height} pixels isn't tall enough; use an image at most {MAX_HEADER_RATIO} times as wide as it's tall"
        )
    return _best_encoding(image, MAX_HEADER_BYTES, _JPEG_QUALITIES + _LOWER_JPEG_QUALITIES)


def _read_upright_size(body: bytes) -> tuple[int, int]:
    """Return the upright width and height of an image that `decode_image` has accepted."""
    with Image.open(io.BytesIO(body), formats=READABLE_FORMATS) as image:
        is_turned = image.getexif().get(ExifTags.Base.Orientation) in range(5, 9)
        return (image.height, image.width) if is_turned else image.size


def count_colors(body: bytes) -> LogoColors:
    """Count a stored logo's opaque pixels by color.

    Raises:
        ImageError: `body` isn't an image.
    """
    image = _read_image(body, max_pixels=MAX_WIDTH * MAX_HEIGHT, max_size=(MAX_WIDTH, LOGO_PIXELS)).convert("RGBA")
    counts, total = Counter[str](), image.width * image.height
    for number, color in image.getcolors(total) or ():
        assert isinstance(color, tuple), "RGBA"
        if color[3] >= _OPAQUE:
            counts["#" + "".join(f"{round(channel / 17):x}" for channel in color[:3])] += number
    return LogoColors(dict(counts), is_cut_out=counts.total() < total * 0.99)


def crop_image(body: bytes, shape: CropShape, focus: FocusPoint = DEFAULT_FOCUS) -> EncodedImage:
    """Crop a stored image to a shape's size around its focus point, enlarging it if it's too small.

    Raises:
        ImageError: `body` isn't an image.
    """
    size, wanted_bytes, max_bytes = _CROP_SIZES[shape]
    image = decode_image(body, max_pixels=MAX_WIDTH * MAX_HEIGHT, max_size=(MAX_WIDTH, MAX_HEIGHT))
    crop = ImageOps.fit(image, size, centering=focus)
    light = _best_encoding(crop, wanted_bytes, _JPEG_QUALITIES)
    return light if len(light.body) <= max_bytes else _best_encoding(crop, max_bytes, _LOWER_JPEG_QUALITIES)


def decode_image(
    body: bytes,
    *,
    max_pixels: int,
    max_size: tuple[int, int],
) -> Image.Image:
    """Return an image's first frame as upright RGB on white, shrunk to fit within `max_size` (width, height).

    Raises:
        ImageError: the bytes aren't an image, its type is unsupported (such as SVG), it has too
            many pixels, or it's broken.
    """
    image = _read_image(body, max_pixels=max_pixels, max_size=max_size)
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _read_image(
    body: bytes,
    *,
    max_pixels: int,
    max_size: tuple[int, int],
) -> Image.Image:
    """Return an image's first frame as upright RGB or RGBA, shrunk to fit within `max_size` (width, height).

    Raises:
        ImageError: the bytes aren't an image, its type is unsupported (such as SVG), it has too
            many pixels, or it's broken.
    """
    if body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP_STARTS):
        raise ImageError("email apps can't show SVG files or web pages; save the image as PNG or JPEG")
    try:
        # By default, Pillow only warns about decompression bombs between one and two times its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(body), formats=READABLE_FORMATS) as image:
            _check_pixels(image, max_pixels)
            _draft_to_size(image, max_size)
            return _orient_and_shrink(image, max_size)
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        raise ImageError(
            f"the image has more than {min(max_pixels, Image.MAX_IMAGE_PIXELS or max_pixels):,} pixels; save "
            "a smaller one"
        ) from exc
    except Exception as exc:  # given hostile bytes, Pillow's readers raise anything from OSError to IndexError
        # For an unknown type, Pillow's message contains a memory address.
        detail = "" if isinstance(exc, UnidentifiedImageError) else f" ({type(exc).__name__}: {exc})"
        raise ImageError(f"the file can't be read as an image{detail}"[:300]) from exc


def _check_pixels(image: Image.Image, max_pixels: int, advice: str = "save a smaller image") -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(f"{image.width} x {image.height} pixels is over the limit of {max_pixels:,}; {advice}")


def _draft_to_size(image: Image.Image, max_size: tuple[int, int]) -> None:
    """Limit the decoded size of an image.

    JPEGs are decoded at a reduced size. Other formats are always decoded in full, so large images are
    rejected. Twice the target size looks best. If that would take too much memory, the target size is used.
    """
    box = (2 * max(max_size),) * 2
    if image.width * image.height > _MAX_DECODED_PIXELS:
        scale = min(1, max_size[0] / image.width, max_size[1] / image.height)
        width, height = (max(1, int(side * scale)) for side in image.size)
        box = width, height
    image.draft("RGB", box)
    _check_pixels(image, _MAX_DECODED_PIXELS, "save a smaller image, or use JPEG")


def _orient_and_shrink(image: Image.Image, max_size: tuple[int, int]) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    clear = image.has_transparency_data
    mode = "RGBA" if clear else "RGB"
    if image.mode.startswith("I"):  # 16-bit gray, which convert() would clip to 255
        gray = image.convert("I").point(lambda value: value * (1 / 257))
        image = gray.convert("L")
    colors = image if image.mode == mode else image.convert(mode)  # copies even if the mode is the same
    colors.thumbnail(max_size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return colors


def encode_image(image: Image.Image, max_bytes: int) -> EncodedImage:
    """Encode an RGB image as JPEG or PNG, whichever is smaller, in at most `max_bytes`.

    If it doesn't fit, the JPEG quality is lowered first, then the width and height.
    """
    while True:
        best = _best_encoding(image, max_bytes, _JPEG_QUALITIES)
        if len(best.body) <= max_bytes or min(image.size) < 2:
            return best
        smaller = [max(1, side * 4 // 5) for side in image.size]
        image = image.resize(smaller, Image.Resampling.LANCZOS)


def _best_encoding(image: Image.Image, max_bytes: int, qualities: tuple[int, ...]) -> EncodedImage:
    """Return the best JPEG that fits, or else the smallest one.

    If a lossless PNG is even smaller, return that.
    """
    jpeg = b""
    for quality in qualities:
        jpeg = _encoded_bytes(image, "JPEG", quality=quality, optimize=True, progressive=True)
        if len(jpeg) <= max_bytes:
            break
    png = _lossless_png(image)
    if png is not None and len(png) < len(jpeg):
        return EncodedImage(png, "image/png", *image.size)
    return EncodedImage(jpeg, "image/jpeg", *image.size)


def _lossless_png(image: Image.Image) -> bytes | None:
    """Return a drawing as a lossless PNG, or None for a photograph.

    The PNG of a photograph would be slow and never smaller.
    """
    colors = image.getcolors(_MAX_DRAWING_COLORS)
    if colors is None:
        return None
    if len(colors) <= 256:
        palette = image.quantize(256, dither=Image.Dither.NONE)
        if palette.convert("RGB").tobytes() == image.tobytes():
            image = palette
    return _encoded_bytes(image, "PNG", optimize=True)


def _encoded_bytes(image: Image.Image, image_format: str, **options: int) -> bytes:
    out = io.BytesIO()
    image.info = {}  # drops the original metadata
    image.save(out, image_format, **options)
    return out.getvalue()

"""Drawing the site's icon and editions' social cards, which are for links on other sites (https://ogp.me).

Cards are 1200 x 630 pixels. Drawing takes place in a child process, as does all decoding of images.
The colors are those of pages in light mode.
"""

import io
import logging
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec

from PIL import Image, ImageDraw, ImageFont, ImageOps

from digest.collect.imaging.encoded_image import DEFAULT_FOCUS, EncodedImage, FocusPoint, ImageError, SocialCardTexts
from digest.collect.imaging.image_codec import decode_image

CARD_SIZE = (1200, 630)  # pixels
PAPER, INK, TEXT, MUTED = "#FFFFFF", "#14181E", "#2A313A", "#56606C"
MAX_LINES = 4  # maximum number of lines in the headline
_BAR_HEIGHT, _MARGIN, _IMAGE_WIDTH = 14, 64, 440  # pixels
_HEADLINE_SIZES = (66, 58, 50, 44, 38)  # pixels; the first one that fits is used
_LINE_HEIGHT = 1.16  # multiple of the font size
_FONT_PACKAGE = "font_source_serif_pro"  # licensed under the SIL Open Font License
_ICON_UNITS = 512  # size at which the icon is drawn, in pixels
_NO_GLYPH = "\uffff"

_Font = ImageFont.FreeTypeFont


def draw_social_card(picture: bytes, words: SocialCardTexts, focus: FocusPoint = DEFAULT_FOCUS) -> EncodedImage:
    """Draw a social card as a PNG.

    If `picture` isn't empty, it's cropped around its focus point to fill the right third of the
    card. Otherwise, the text has the whole width.

    Raises:
        ImageError: the font lacks a letter, or `picture` isn't an image.
    """
    if missing := _find_missing_letter(words.name + words.issue + words.headline + words.deadline):
        raise ImageError(f"the card's font has no glyph for {missing!r}")
    card = Image.new("RGB", CARD_SIZE, PAPER)
    draw = ImageDraw.Draw(card)
    width = CARD_SIZE[0] - 2 * _MARGIN
    if picture:
        width -= _IMAGE_WIDTH
        _paste_image(card, picture, focus)
    draw.rectangle((0, 0, CARD_SIZE[0], _BAR_HEIGHT - 1), fill=INK)
    _write_words(draw, words, width)
    buffer = io.BytesIO()
    palette = card.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(buffer, "PNG", compress_level=6)
    return EncodedImage(buffer.getvalue(), "image/png", *CARD_SIZE)


def draw_icon(_body: bytes, *, letter: str, dot_color: str, size: int) -> EncodedImage:
    """Draw the site's icon as a PNG, `size` pixels wide: a letter and the masthead's dot.

    If the font lacks the letter, the icon is only the dot.
    """
    icon = Image.new("RGB", (_ICON_UNITS, _ICON_UNITS), INK)
    draw = ImageDraw.Draw(icon)
    if letter and not _find_missing_letter(letter):
        draw.text((226, 376), letter, PAPER, load_font("Bold", 368), "ms")
        draw.circle((408, 340), 40, dot_color)
    else:
        draw.circle((256, 256), 128, dot_color)
    buffer = io.BytesIO()
    icon.resize((size, size), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return EncodedImage(buffer.getvalue(), "image/png", size, size)


def _paste_image(card: Image.Image, picture: bytes, focus: FocusPoint) -> None:
    width, height = CARD_SIZE
    image = decode_image(picture, max_pixels=width * 2400, max_size=(1200, 1200))
    image = ImageOps.fit(image, (_IMAGE_WIDTH, height - _BAR_HEIGHT), centering=focus)
    card.paste(image, (width - _IMAGE_WIDTH, _BAR_HEIGHT))


def _write_words(draw: ImageDraw.ImageDraw, words: SocialCardTexts, width: int) -> None:
    """Draw the text in a column of `width` pixels, right-aligned in right-to-left languages."""
    x, anchor = (_MARGIN + width, "rs") if words.is_right_to_left else (_MARGIN, "ls")
    _write_name(draw, words, x, anchor)
    draw.text((x, 142), words.issue, MUTED, load_font("Regular", 26), anchor)
    font, lines = fit_headline(words.headline, width)
    step = round(font.size * _LINE_HEIGHT)
    bottom = 510 if words.deadline else 570
    spare = bottom - 190 - step * len(lines)
    y = 190 + max(0, spare // 3) - round(step * 0.24)
    for line in lines:
        y += step
        draw.text((x, y), line, INK, font, anchor)
    if words.deadline:
        draw.line((_MARGIN, 540, _MARGIN + width, 540), INK, 2)
        _write_deadline(draw, words, x, width, anchor)


def _write_name(draw: ImageDraw.ImageDraw, words: SocialCardTexts, x: int, anchor: str) -> None:
    """Draw the publication's name, with its first dot in the color of labels unless it's written right to left."""
    font = load_font("Bold", 44)
    before, dot, after = words.name.partition(".")
    if not dot or words.is_right_to_left:
        draw.text((x, 98), words.name, INK, font, anchor)
        return
    for part in (before, dot, after):
        color = words.label if part is dot else INK
        draw.text((x, 98), part, color, font, anchor)
        x += round(draw.textlength(part, font))


def _write_deadline(
    draw: ImageDraw.ImageDraw,
    words: SocialCardTexts,
    x: int,
    width: int,
    anchor: str,
) -> None:
    label, _, deadline_text = words.deadline.partition(": ")
    bold, plain = load_font("Bold", 26), load_font("Regular", 26)
    indent = draw.textlength(f"{label}: ", bold)
    is_too_wide = indent + draw.textlength(deadline_text, plain) > width
    if anchor == "rs" or not deadline_text or is_too_wide:
        draw.text((x, 582), words.deadline, words.label, bold, anchor)
        return
    draw.text((x, 582), f"{label}:", words.label, bold, anchor)
    draw.text((x + round(indent), 582), deadline_text, TEXT, plain, anchor)


def fit_headline(headline: str, width: int) -> tuple[_Font, list[str]]:
    """Return the largest font in which a headline fits, and the headline's balanced lines.

    If it doesn't fit in any font, use the smallest one, and end the last line with an ellipsis.
    """
    words = headline.split()
    for size in _HEADLINE_SIZES:
        font = load_font("Bold", size)
        lines = list(_wrap_words(words, font, width))
        fitting = [line for line in lines if font.getlength(line) <= width]
        if len(lines) <= MAX_LINES and fitting == lines:
            return font, _balance_lines(words, font, width, len(lines))
    *lines, last = fitting[:MAX_LINES] or [headline[:20]]
    return font, [*lines, f"{last.rpartition(' ')[0] or last} …"]


def _wrap_words(words: list[str], font: _Font, width: float) -> Iterator[str]:
    line = ""
    for word in words:
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            yield line
            line = word
        else:
            line = longer
    if line:
        yield line


def _balance_lines(
    words: list[str],
    font: _Font,
    width: int,
    count: int,
) -> list[str]:
    """Break the words into `count` lines that fit in the narrowest possible column.

    This avoids a single word on the last line.
    """
    narrow, wide = 0, width
    while wide - narrow > 4:
        middle = (narrow + wide) // 2
        lines = list(_wrap_words(words, font, middle))
        if len(lines) <= count and all(font.getlength(line) <= middle for line in lines):
            wide = middle
        else:
            narrow = middle
    return list(_wrap_words(words, font, wide))


@lru_cache(maxsize=16)
def load_font(weight: str, size: int) -> _Font:
    """Return the cards' serif font, or Pillow's default font if it isn't installed."""
    if find_spec(_FONT_PACKAGE) is None:
        logging.getLogger(__name__).warning("the card font package is missing, so cards use Pillow's default font")
        font = ImageFont.load_default(size)
        assert isinstance(font, _Font), "Pillow was built without FreeType"
        return font
    folder = resources.files(_FONT_PACKAGE) / "files"
    file = next(f for f in folder.iterdir() if f.name.startswith(f"SourceSerifPro-{weight}."))
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), size)


def _find_missing_letter(text: str) -> str:
    """Return the first letter that the font would draw as a box, or "" if there's none."""
    font = load_font("Bold", 38)
    box = bytes(font.getmask(_NO_GLYPH))
    letters = sorted(set("".join(text.split())))
    return next((letter for letter in letters if bytes(font.getmask(letter)) == box), "")

"""The card of an edition: the picture, 1200 x 630 pixels, that other sites show beside a link to it (https://ogp.me).

Drawn in a child process, as all pictures are decoded there. The colours are those of the pages in the light.
"""

import io
import logging
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec

from PIL import Image, ImageDraw, ImageFont, ImageOps

from digest.collect.codec.encoded_image import CardWords, EncodedImage, ImageError
from digest.collect.codec.image_codec import decode_image

CARD_SIZE = (1200, 630)  # pixels
PAPER, INK, TEXT, MUTED = "#FFFFFF", "#14181E", "#2A313A", "#56606C"
MAX_LINES = 4  # of the headline
_BAR_HEIGHT, _MARGIN, _IMAGE_WIDTH = 14, 64, 440  # pixels
_HEADLINE_SIZES = (66, 58, 50, 44, 38)  # pixels; the first that fits
_LINE_HEIGHT = 1.16  # of the size
_FONT_PACKAGE = "font_source_serif_pro"  # under the SIL Open Font License
_NO_GLYPH = "\uffff"

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_card(picture: bytes, words: CardWords) -> EncodedImage:
    """Draw a card as PNG; `picture` (may be empty) fills its right third, else the words have all of it.

    Raises:
        ImageError: the typeface lacks a letter of the words, or `picture` is none.
    """
    if missing := _find_missing_letter(words.name + words.issue + words.headline + words.deadline):
        raise ImageError(f"the card's font has no glyph for {missing!r}")
    card = Image.new("RGB", CARD_SIZE, PAPER)
    draw = ImageDraw.Draw(card)
    width = CARD_SIZE[0] - 2 * _MARGIN
    if picture:
        width -= _IMAGE_WIDTH
        _paste_image(card, picture)
    draw.rectangle((0, 0, CARD_SIZE[0], _BAR_HEIGHT - 1), fill=INK)
    _write_words(draw, words, width)
    buffer = io.BytesIO()
    card.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, "PNG", compress_level=6)
    return EncodedImage(buffer.getvalue(), "image/png", *CARD_SIZE)


def _paste_image(card: Image.Image, picture: bytes) -> None:
    size = (_IMAGE_WIDTH, CARD_SIZE[1] - _BAR_HEIGHT)
    image = decode_image(picture, max_pixels=CARD_SIZE[0] * 2400, max_size=(1200, 1200))
    card.paste(ImageOps.fit(image, size, centering=(0.5, 0.4)), (CARD_SIZE[0] - _IMAGE_WIDTH, _BAR_HEIGHT))


def _write_words(draw: ImageDraw.ImageDraw, words: CardWords, width: int) -> None:
    """Write the words into a column of `width` pixels, from its right edge where the language is written so."""
    x, anchor = (_MARGIN + width, "rs") if words.is_right_to_left else (_MARGIN, "ls")
    _write_name(draw, words, x, anchor)
    draw.text((x, 142), words.issue, MUTED, load_font("Regular", 26), anchor)
    font, lines = fit_headline(words.headline, width)
    step = round(_size_of(font) * _LINE_HEIGHT)
    bottom = 510 if words.deadline else 570
    top = 190 + max(0, (bottom - 190 - step * len(lines)) // 3)
    for number, line in enumerate(lines, 1):
        draw.text((x, top + number * step - round(step * 0.24)), line, INK, font, anchor)
    if words.deadline:
        draw.line((_MARGIN, 540, _MARGIN + width, 540), INK, 2)
        _write_deadline(draw, words, x, width, anchor)


def _write_name(draw: ImageDraw.ImageDraw, words: CardWords, x: int, anchor: str) -> None:
    """Write the name; its first dot has the colour of labels."""
    font = load_font("Bold", 44)
    before, dot, after = words.name.partition(".")
    if not dot or words.is_right_to_left:
        draw.text((x, 98), words.name, INK, font, anchor)
        return
    for part, colour in ((before, INK), (dot, words.label), (after, INK)):
        draw.text((x, 98), part, colour, font, anchor)
        x += round(draw.textlength(part, font))


def _write_deadline(
    draw: ImageDraw.ImageDraw,
    words: CardWords,
    x: int,
    width: int,
    anchor: str,
) -> None:
    label, _, rest = words.deadline.partition(": ")
    bold, plain = load_font("Bold", 26), load_font("Regular", 26)
    if anchor == "rs" or not rest or draw.textlength(label + ": ", bold) + draw.textlength(rest, plain) > width:
        draw.text((x, 582), words.deadline, words.label, bold, anchor)
        return
    draw.text((x, 582), f"{label}:", words.label, bold, anchor)
    draw.text((x + round(draw.textlength(f"{label}: ", bold)), 582), rest, TEXT, plain, anchor)


def fit_headline(headline: str, width: int) -> tuple[_Font, list[str]]:
    """Choose the largest size in which a headline fits, and balance its lines; what never fits is cut at a word."""
    words = headline.split()
    for size in _HEADLINE_SIZES:
        font = load_font("Bold", size)
        lines = list(_wrap_words(words, font, width))
        if len(lines) <= MAX_LINES and all(font.getlength(line) <= width for line in lines):
            return font, _balance_lines(words, font, width, len(lines))
    lines = [line for line in lines if font.getlength(line) <= width][:MAX_LINES] or [headline[:20]]
    return font, [*lines[:-1], f"{lines[-1].rpartition(' ')[0] or lines[-1]} …"]


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
    """Take the narrowest column that needs no more lines, so that the last one is no lone word."""
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
    """Load the serif face of cards; where its package is missing, the one that Pillow brings."""
    if find_spec(_FONT_PACKAGE) is None:
        logging.getLogger(__name__).warning("the card font package is missing, so cards use Pillow's own font")
        return ImageFont.load_default(size)
    folder = resources.files(_FONT_PACKAGE) / "files"
    file = next(f for f in folder.iterdir() if f.name.startswith(f"SourceSerifPro-{weight}."))
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), size)


def _size_of(font: _Font) -> float:
    return font.size if isinstance(font, ImageFont.FreeTypeFont) else 11.0


def _find_missing_letter(text: str) -> str:
    """Find a letter that the typeface would draw as a box."""
    font = load_font("Bold", 38)
    box = bytes(font.getmask(_NO_GLYPH))
    return next((c for c in sorted(set(text)) if not c.isspace() and bytes(font.getmask(c)) == box), "")

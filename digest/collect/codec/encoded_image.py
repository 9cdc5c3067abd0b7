"""Values that the codec takes and returns, in a module of their own because Pillow is slow to import."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from subscribers.errors import ApplicationError

Fraction = Annotated[float, Field(ge=0, le=1)]
# The point that every crop shows, as fractions of width and height. A crop removes proportional parts on both sides of
# it, so the point is at the same fractions of the crop.
FocusPoint = tuple[Fraction, Fraction]
DEFAULT_FOCUS: FocusPoint = (0.5, 0.4)  # most faces are in the upper half
LOGO_HEIGHT, LOWEST_LOGO, TALLEST_LOGO = 30, 20, 60  # CSS pixels in the masthead; the first is the default
WIDEST_LOGO = 300  # CSS pixels that fit on a phone; a wider logo is shown less high
HEADER_WIDTH = 560  # CSS pixels, the column of an email


class CropShape(StrEnum):
    """The shapes of images in emails, cropped beforehand because email clients can't crop."""

    LEAD = "lead"
    THUMB = "thumb"


class ImageError(ApplicationError):
    """Raised when bytes aren't a usable image, or an image can't be drawn; the message explains why."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image encoded for storage."""

    body: bytes
    content_type: Literal["image/jpeg", "image/png"]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]


_ENCODED_IMAGE = TypeAdapter(EncodedImage)
_SIGNATURES = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


def parse_encoded_image(values: dict[str, Any], body: bytes) -> EncodedImage:
    """Return the image that a child process answered with, after checking it.

    Raises:
        ValueError: the values don't describe an image, or the bytes aren't of its type.
    """
    image = _ENCODED_IMAGE.validate_python({**values, "body": body})
    if not body.startswith(_SIGNATURES[image.content_type]):
        raise ValueError(f"not a valid {image.content_type} file")
    return image


@dataclass(frozen=True, slots=True)
class LogoColors:
    """A logo's opaque pixels: how many have each color, as #RGB, and whether its background is transparent."""

    counts: dict[Annotated[str, Field(pattern="^#[0-9a-f]{3}$")], Annotated[int, Field(gt=0)]]
    is_cut_out: bool


@dataclass(frozen=True, slots=True)
class SocialCardTexts:
    """The texts of a social card, such as "No. 147 · November 20, 2026" for `issue`; `deadline` is empty for none."""

    name: str
    issue: str
    headline: str
    deadline: str = ""
    is_right_to_left: bool = False
    label: str = "#B0390C"  # the color of labels

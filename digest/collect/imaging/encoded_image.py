"""Values that the image codec takes and returns.

They're in a separate module because Pillow is slow to import.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from subscribers.errors import ApplicationError

Fraction = Annotated[float, Field(ge=0, le=1)]
# The point that every crop shows, as fractions of the width and height. A crop removes proportional
# parts on both sides of the point, so it's at the same fractions of the crop.
FocusPoint = tuple[Fraction, Fraction]
DEFAULT_FOCUS: FocusPoint = (0.5, 0.4)  # most faces are in the upper half
# Heights in the masthead, in CSS pixels. The first is the default.
LOGO_HEIGHT, LOWEST_LOGO, TALLEST_LOGO = 30, 20, 60
WIDEST_LOGO = 300  # CSS pixels that fit on a phone; a wider logo is shown at a lower height
HEADER_WIDTH = 560  # CSS pixels; the width of an email's column


class CropShape(StrEnum):
    """The shapes of images in emails.

    Images are cropped in advance because email clients can't do it.
    """

    LEAD = "lead"
    THUMB = "thumb"


class ImageError(ApplicationError):
    """Raised when bytes aren't a usable image, or when an image can't be drawn.

    The message explains why.
    """


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
    """Return the image that a child process sent, after checking it.

    Raises:
        ValueError: the values don't describe an image, or the bytes aren't of its type.
    """
    image = _ENCODED_IMAGE.validate_python({**values, "body": body})
    if not body.startswith(_SIGNATURES[image.content_type]):
        raise ValueError(f"not a valid {image.content_type} file")
    return image


@dataclass(frozen=True, slots=True)
class LogoColors:
    """The colors of a logo's opaque pixels.

    `counts` maps each color, as #RGB, to its number of pixels. `is_cut_out` is true if the logo has
    a transparent background.
    """

    counts: dict[Annotated[str, Field(pattern="^#[0-9a-f]{3}$")], Annotated[int, Field(gt=0)]]
    is_cut_out: bool


@dataclass(frozen=True, slots=True)
class SocialCardTexts:
    """The texts of a social card.

    An example of `issue` is "No. 147 · November 20, 2026". `deadline` is empty if there's none.
    """

    name: str
    issue: str
    headline: str
    deadline: str = ""
    is_right_to_left: bool = False
    label: str = "#B0390C"  # the color of labels

"""What a picture becomes: the values that the codec gives, apart from it, for Pillow is slow to import."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from subscribers.errors import ApplicationError

Fraction = Annotated[float, Field(ge=0, le=1)]
# The point of a picture that every crop shows, as fractions of its width and height. A crop takes the rest away on both sides of it
# in proportion, so the point is at the same fractions of the crop.
FocusPoint = tuple[Fraction, Fraction]
DEFAULT_FOCUS: FocusPoint = (0.5, 0.4)  # faces are in the upper half more often than not
LOGO_HEIGHT, MAX_LOGO_WIDTH = 30, 200  # CSS pixels, as a logo stands in the masthead by default
TALLEST_LOGO = 60  # CSS pixels
HEADER_WIDTH = 560  # CSS pixels: an email's column


class CropShape(StrEnum):
    """The crops that the mail shows; a mail client cannot crop."""

    LEAD = "lead"
    THUMB = "thumb"


class ImageError(ApplicationError):
    """Bytes that are no picture we can use; the message says why. Fetching them again changes nothing."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A finished picture."""

    body: bytes
    content_type: Literal["image/jpeg", "image/png"]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]


_ENCODED_IMAGE = TypeAdapter(EncodedImage)
_SIGNATURES = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


def parse_encoded_image(values: dict[str, Any], body: bytes) -> EncodedImage:
    """Give the picture that a child says it made.

    Raises:
        ValueError: the values are none of a picture, or its bytes are none of its type.
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
    """What a card says: the publication, the issue ("No. 147 · November 20, 2026"), the headline, the next deadline or nothing."""

    name: str
    issue: str
    headline: str
    deadline: str = ""
    is_right_to_left: bool = False
    label: str = "#B0390C"  # the colour of labels

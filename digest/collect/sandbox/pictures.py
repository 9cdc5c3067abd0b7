"""Pictures decoded and encoded in a child process: the same functions as the codec's, for everybody outside of it."""

from typing import Any

from digest.collect.encoded_image import CropShape, EncodedImage, ImageError
from digest.collect.sandbox.client import SANDBOX, DocumentRefusedError, SandboxError


def fit_in_child(body: bytes, *, max_pixels: int) -> EncodedImage:
    """Make a picture fit for the mail as `image_codec.fit_image` does.

    Raises:
        ImageError: it is no usable picture, or ran into a limit.
    """
    return _encode({"operation": "fit picture", "max_pixels": max_pixels}, body)


def crop_in_child(body: bytes, shape: CropShape) -> EncodedImage:
    """Cut a picture to a shape as `image_codec.crop_image` does.

    Raises:
        ImageError: it is no picture, or ran into a limit.
    """
    return _encode({"operation": "crop picture", "shape": shape.value}, body)


def _encode(head: dict[str, Any], body: bytes) -> EncodedImage:
    try:
        reply, content = SANDBOX.run(head, body)
    except DocumentRefusedError as refusal:
        raise ImageError(str(refusal)) from refusal
    except SandboxError as error:  # no picture is worth an edition
        raise ImageError(f"it cannot be read ({str(error).splitlines()[-1]})"[:300]) from error
    return EncodedImage(content, reply["content_type"], int(reply["width"]), int(reply["height"]))

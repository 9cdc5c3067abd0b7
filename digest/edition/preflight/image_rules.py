"""Rules over pictures: ours only, described, sized, light and of a kind that every client shows."""

import re
from collections.abc import Iterator

from digest.edition.kinds import lead_sections
from digest.edition.preflight.rule_registry import (
    PreflightFinding,
    PreflightInput,
    error_finding,
    preflight_rule,
    warning_finding,
)

MAX_IMAGE_BYTES = 200 * 1024  # bytes
SUPPORTED_TYPES = ("image/jpeg", "image/png", "image/gif")  # what Outlook's Word engine shows


@preflight_rule(
    "images-ours", "Every picture comes from /media/ of this installation: nobody else sees a reader open the mail."
)
def check_image_origins(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Compare each source with our own address."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        if not source.startswith(f"{examined.base}/media/"):
            yield error_finding(f"{source or 'A picture without a source'} is not under {examined.base}/media/.")


@preflight_rule(
    "images-described", "Every picture has an alt text (empty for decoration), and the lead's says what is seen."
)
def check_alt_texts(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Look at alt texts."""
    for image in examined.tree.iter("img"):
        if "alt" not in image.attrib:
            yield error_finding(f"{image.get('src')} has no alt text.")
    for section in lead_sections(examined.content.sections):
        lead = section.entries[0] if section.entries else None
        if lead and lead.picture and not lead.picture.alt.strip():
            yield warning_finding(f"The picture of “{lead.headline}” has no description.", section.title)


@preflight_rule(
    "images-sized", "Every picture says its width and height, so that nothing jumps and Outlook keeps the layout."
)
def check_image_dimensions(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Look at the width and height attributes."""
    for image in examined.tree.iter("img"):
        if not all(re.fullmatch(r"[1-9]\d*", str(image.get(side) or "")) for side in ("width", "height")):
            yield error_finding(f"{image.get('src')} has no width and height in whole pixels.")


@preflight_rule("images-kept", "Every picture is kept here, as JPEG, PNG or GIF, and weighs at most 200 KB.")
def check_stored_images(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Look each picture up among those that are kept."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        name = source.rsplit("/", 1)[-1]
        facts = examined.pictures.get(name)
        if facts is None:
            yield error_finding(f"{source} is not kept here: readers would see nothing. Draft again.")
        elif facts.content_type not in SUPPORTED_TYPES:
            yield error_finding(f"{source} is {facts.content_type}: some mail programs show nothing.")
        elif facts.size > MAX_IMAGE_BYTES:
            yield error_finding(f"{source} weighs {facts.size // 1024} KB; 200 KB is the limit.")

"""Rules over pictures: ours only, described, sized, light and of a kind that every client shows."""

import re
from collections.abc import Iterator

from digest.edition.preflight.rules import Examined, Finding, error, rule, warning

HEAVY = 200 * 1024  # bytes
SHOWN = ("image/jpeg", "image/png", "image/gif")  # what Outlook's Word engine shows


@rule(
    "images-ours",
    "Every picture comes from /media/ of this installation: nobody else sees a reader open the mail.",
)
def ours(examined: Examined) -> Iterator[Finding]:
    """Compare each source with our own address."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        if not source.startswith(f"{examined.base}/media/"):
            yield error(
                "images-ours",
                f"{source or 'A picture without a source'} is not under {examined.base}/media/.",
            )


@rule(
    "images-described",
    "Every picture has an alt text (empty for decoration), and the lead's says what is seen.",
)
def described(examined: Examined) -> Iterator[Finding]:
    """Look at alt texts."""
    for image in examined.tree.iter("img"):
        if "alt" not in image.attrib:
            yield error("images-described", f"{image.get('src')} has no alt text.")
    for section in examined.content.sections:
        if section.kind == "featured" and section.entries:
            lead = section.entries[0]
            if lead.picture and not lead.picture.alt.strip():
                yield warning(
                    "images-described", f"The picture of “{lead.headline}” has no description.", section.title
                )


@rule(
    "images-sized",
    "Every picture says its width and height, so that nothing jumps and Outlook keeps the layout.",
)
def sized(examined: Examined) -> Iterator[Finding]:
    """Look at the width and height attributes."""
    for image in examined.tree.iter("img"):
        if not all(re.fullmatch(r"[1-9]\d*", str(image.get(side) or "")) for side in ("width", "height")):
            yield error("images-sized", f"{image.get('src')} has no width and height in whole pixels.")


@rule("images-kept", "Every picture is kept here, as JPEG, PNG or GIF, and weighs at most 200 KB.")
def kept(examined: Examined) -> Iterator[Finding]:
    """Look each picture up among those that are kept."""
    for image in examined.tree.iter("img"):
        source = str(image.get("src") or "")
        name = source.rsplit("/", 1)[-1]
        facts = examined.pictures.get(name)
        if facts is None:
            yield error("images-kept", f"{source} is not kept here: readers would see nothing. Draft again.")
        elif facts.content_type not in SHOWN:
            yield error("images-kept", f"{source} is {facts.content_type}: some mail programs show nothing.")
        elif facts.size > HEAVY:
            yield error("images-kept", f"{source} weighs {facts.size // 1024} KB; 200 KB is the limit.")

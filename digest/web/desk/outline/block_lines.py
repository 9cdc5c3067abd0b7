"""The fields of a labeled block as titled texts, for comparing two versions. Pure functions only."""

from collections.abc import Mapping

_TITLES = {
    "kind": "Label",
    "name": "Sponsor or organization",
    "headline": "Headline",
    "text": "Text",
    "url": "Link",
    "after": "Place after",
    "first_day": "First day",
    "last_day": "Last day",
    "picture": "Image",
}


def list_block_lines(value: Mapping[str, object], place: str = "") -> dict[str, str]:
    """Return the texts of a block's nonempty fields, by title.

    `place` is the title of the preceding section, if known.
    """
    if value.get("removed"):
        return {"Block": "removed"}
    texts = {name: str(value.get(name) or "") for name in _TITLES}
    texts |= {name: texts[name].replace("-", " ").capitalize() for name in ("kind", "after")}
    texts["after"] = place or texts["after"]
    image = value.get("picture")
    texts["picture"] = str(image.get("alt", "")) if isinstance(image, Mapping) else ""
    return {_TITLES[name]: text for name, text in texts.items() if text}

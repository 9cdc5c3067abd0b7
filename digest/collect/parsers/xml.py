"""XML as the world writes it, mended until a strict parser takes it: no entities of its own, nothing fetched."""

import re
from bisect import bisect_right
from collections import Counter
from html.entities import html5

from lxml import etree

from digest.collect.items import ParseError

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>", re.IGNORECASE)
_BEFORE_ROOT = re.compile(
    r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>", re.DOTALL | re.IGNORECASE
)
_DOCTYPE = re.compile(r"<!DOCTYPE", re.IGNORECASE)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CDATA = re.compile(r"(<!\[CDATA\[.*?(?:\]\]>|\Z))", re.DOTALL)
_REFERENCE = re.compile(r"&(?:(#\d{1,8}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)?")
_PREDEFINED = {"amp", "lt", "gt", "quot", "apos"}
_PREFIX = re.compile(
    r"</?([A-Za-z_][\w.-]{0,40}):[A-Za-z_]|\s([A-Za-z_][\w.-]{0,40}):[\w.-]{1,60}\s?=\s?[\"']"
)
_DECLARES = re.compile(r"\bxmlns:([A-Za-z_][\w.-]{0,40})\s*=")
_USUAL = {  # what publishers mean who forget to say it
    "atom": "http://www.w3.org/2005/Atom",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "ev": "http://purl.org/rss/1.0/modules/event/",
    "media": "http://search.yahoo.com/mrss/",
    "news": "http://www.google.com/schemas/sitemap-news/0.9",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "sy": "http://purl.org/rss/1.0/modules/syndication/",
}
_ROOT_CLOSES = re.compile(r"</(?:[\w.-]{1,40}:)?(?:rss|RDF|feed|urlset)\s*>", re.IGNORECASE)


_MOST_ALIKE = 300
_MOST_MENDED = 20_000  # items
_MANY_ATTRIBUTES = etree.XPath(f"//*[@*[{_MOST_ALIKE + 1}]]")
_MANY_CHILDREN = etree.XPath(f"//*[*[{_MOST_ALIKE + 1}]]")


def root_at(text: str) -> int:
    """Say where a document's root element begins, after declarations, comments and document types."""
    at = 0
    while at < len(text) and (skipped := _BEFORE_ROOT.match(text, at)):
        at = skipped.end()
    return at


def well_formed(text: str, *, item: str) -> tuple[bytes, bool]:
    """Give the XML as UTF-8 that strict parsers take, and whether the document breaks off within an item.

    Document types are dropped with every entity they declare, so that none can grow; HTML's names for
    characters become characters. What a strict parser still refuses, libxml2 recovers; an item that the
    end of the document cuts through is left out.

    Args:
        text: the decoded document.
        item: the name of the element that an item is, as a pattern: "item|entry".

    Raises:
        ParseError: nothing can be recovered.
    """
    text = _mended(text)
    root, cause = _strict(text)
    if root is not None:
        return (etree.tostring(root, encoding="utf-8") if _prune(root, item) else text.encode()), False
    root, broken = _recovered(text, item, cause)
    _prune(root, item)
    return etree.tostring(root, encoding="utf-8"), broken


def tree(text: str, *, item: str) -> etree._Element:
    """Give the root element of an XML document, mended as `well_formed` does."""
    text = _mended(text)
    root, cause = _strict(text)
    return root if root is not None else _recovered(text, item, cause)[0]


def _strict(text: str) -> tuple[etree._Element | None, str]:
    """Give the root element of a well-formed document, else None and what is wrong."""
    try:
        return etree.fromstring(text.encode(), _parser(recover=False)), ""
    except etree.XMLSyntaxError as exc:
        return None, str(exc)[:200]


def _parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        recover=recover,
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        encoding="utf-8",
    )


def _mended(text: str) -> str:
    text = _NOT_XML.sub("", _without_doctype(_DECLARATION.sub("", text)))
    if "&" in text:
        parts = _CDATA.split(text)
        parts[::2] = [_REFERENCE.sub(_reference, part) for part in parts[::2]]
        text = "".join(parts)
    return text.lstrip()


def _without_doctype(text: str) -> str:
    """Drop the one document type that a document may have, with the declarations inside it."""
    found = _DOCTYPE.search(text)
    if not found:
        return text
    close, bracket = text.find(">", found.end()), text.find("[", found.end())
    if 0 <= bracket < close:
        inside = text.find("]", bracket)
        close = text.find(">", inside) if inside >= 0 else -1
    return text[: found.start()] + text[close + 1 :] if close >= 0 else text


def _reference(found: re.Match[str]) -> str:
    """Keep what XML knows, spell out what HTML knows, and take the rest for an ampersand that wasn't escaped."""
    name = found[1]
    if name is None:
        return "&amp;"
    if name in _PREDEFINED:
        return found[0]
    if name[0] == "#":
        code = int(f"0{name[1:]}", 16) if name[1] in "xX" else int(name[1:])
        return found[0] if code <= 0x10FFFF and not _NOT_XML.match(chr(code)) else ""
    return html5.get(f"{name};", f"&amp;{name};")


def _recovered(text: str, item: str, cause: str) -> tuple[etree._Element, bool]:
    text, broken = _whole(_with_prefixes(text), item)
    text = _with_sound_items(text, item)
    try:
        root = etree.fromstring(text.encode(), _parser(recover=True))
    except etree.XMLSyntaxError:
        root = None
    if root is None:
        raise ParseError(f"The answer is no readable XML: {cause}. Tell the publisher.")
    return root, broken


def _prune(root: etree._Element, item: str) -> bool:
    """Drop what no feed has: hundreds of attributes on an element, hundreds of its children with one name.

    feedparser's time grows with the square of both. Gives whether anything was dropped.
    """
    surplus = [
        (element, name) for element in _MANY_ATTRIBUTES(root) for name in element.attrib.keys()[_MOST_ALIKE:]
    ]
    for element, name in surplus:
        del element.attrib[name]
    extra: list[etree._Element] = []
    for parent in _MANY_CHILDREN(root):
        seen: Counter[object] = Counter()
        for child in parent:
            seen[child.tag] += 1
            if seen[child.tag] > _MOST_ALIKE and not re.search(rf"(?:^|\}})(?:{item})$", str(child.tag)):
                extra.append(child)
    for child in extra:
        child.getparent().remove(child)
    return bool(surplus or extra)


def _ends(text: str, item: str) -> tuple[list[int], list[int]]:
    """Say where items begin, and where they end."""
    opens = [found.start() for found in re.finditer(rf"<(?:[\w.-]{{1,40}}:)?(?:{item})(?=[\s>])", text)]
    closes = [found.end() for found in re.finditer(rf"</(?:[\w.-]{{1,40}}:)?(?:{item})\s*>", text)]
    return opens, closes


def _whole(text: str, item: str) -> tuple[str, bool]:
    """Cut a document that broke off, if it did so within an item, in front of that item."""
    if _ROOT_CLOSES.search(text, max(0, len(text) - 4_000)):
        return text, False
    opens, closes = _ends(text, item)
    broken = bool(opens) and opens[-1] >= (closes[-1] if closes else 0)
    return (text[: opens[-1]], True) if broken else (text, False)


def _with_sound_items(text: str, item: str) -> str:
    """Put into CDATA the HTML of items that aren't well-formed, so that one broken item doesn't swallow the next."""
    opens, closes = _ends(text, item)
    if len(opens) > _MOST_MENDED:
        return text
    declared = " ".join(
        dict.fromkeys(re.findall(r"\bxmlns(?::[\w.-]{1,40})?\s*=\s*[\"'][^\"'<>]{0,300}[\"']", text))
    )
    pieces, at = [], 0
    for start, following in zip(opens, [*opens[1:], len(text)], strict=False):
        last = bisect_right(closes, following) - 1
        end = closes[last] if last >= 0 and closes[last] > start else following
        pieces += [text[at:start], _sound(text[start:end], declared)]
        at = end
    return "".join([*pieces, text[at:]])


def _sound(piece: str, declared: str) -> str:
    try:
        etree.fromstring(f"<x {declared}>{piece}</x>".encode(), _parser(recover=False))
    except etree.XMLSyntaxError:
        for name in ("title", "description", "summary", "content", "content:encoded"):
            piece = _in_cdata(piece, name)
    return piece


def _in_cdata(piece: str, name: str) -> str:
    """Quote what stands between the first opening and the last closing tag of a name, if it holds mark-up."""
    opening = re.search(rf"<{name}(?:\s[^<>]*)?(?<!/)>", piece)
    end = piece.rfind(f"</{name}>")
    if not opening or end < opening.end():
        return piece
    inner = piece[opening.end() : end]
    if "<" not in inner:
        return piece
    inner = inner.replace("<![CDATA[", "").replace("]]>", "")
    return f"{piece[: opening.end()]}<![CDATA[{inner}]]>{piece[end:]}"


def _with_prefixes(text: str) -> str:
    """Declare, on the root element, the prefixes that are used and not declared."""
    used = {found[1] or found[2] for found in _PREFIX.finditer(text)}
    missing = sorted(used - set(_DECLARES.findall(text)) - {"xml", "xmlns"})
    declarations = "".join(f' xmlns:{p}="{_USUAL.get(p, f"urn:undeclared:{p}")}"' for p in missing)
    name = re.compile(r"<[\w:.-]{1,80}").match(text, root_at(text))
    return text[: name.end()] + declarations + text[name.end() :] if name else text

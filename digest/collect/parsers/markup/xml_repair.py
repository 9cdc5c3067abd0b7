"""Repairing invalid XML for strict parsers.

Declared entities and external resources are never loaded.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from functools import partial
from html.entities import html5
from itertools import chain, pairwise

from lxml import etree

from digest.collect.documents.parsed_document import ParseError

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>", re.IGNORECASE)
_BEFORE_ROOT = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>", re.DOTALL | re.IGNORECASE)
_DOCTYPE = re.compile(r"<!DOCTYPE", re.IGNORECASE)
_NON_XML_CHARACTERS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CDATA = re.compile(r"(<!\[CDATA\[.*?(?:\]\]>|\Z))", re.DOTALL)
_REFERENCE = re.compile(r"&(?:(#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)?")
_PREDEFINED = {"amp", "lt", "gt", "quot", "apos"}
_PREFIX = re.compile(r"</?([A-Za-z_][\w.-]{0,40}):[A-Za-z_]|\s([A-Za-z_][\w.-]{0,40}):[\w.-]{1,60}\s?=\s?[\"']")
_NAMESPACE_DECLARATION = re.compile(r"\bxmlns:([A-Za-z_][\w.-]{0,40})\s*=")
# The usual namespaces of prefixes that publishers forget to declare.
_NAMESPACE_TABLE = """
atom     http://www.w3.org/2005/Atom
content  http://purl.org/rss/1.0/modules/content/
dc       http://purl.org/dc/elements/1.1/
ev       http://purl.org/rss/1.0/modules/event/
media    http://search.yahoo.com/mrss/
news     http://www.google.com/schemas/sitemap-news/0.9
rdf      http://www.w3.org/1999/02/22-rdf-syntax-ns#
sy       http://purl.org/rss/1.0/modules/syndication/
"""
_USUAL_NAMESPACES = dict(map(str.split, _NAMESPACE_TABLE.strip().splitlines()))
_ROOT_END_TAG = re.compile(r"</(?:[\w.-]{1,40}:)?(?:rss|RDF|feed|urlset|channel)\s*>", re.IGNORECASE)


_MAX_SIMILAR = 300
_MAX_REPAIRED_ITEMS = 20_000  # maximum number of items
_MAX_NAME_CHARACTERS = 1_000
_LONG_NAMES = etree.XPath(
    "//*[contains('|author|creator|contributor|managingeditor|webmaster|publisher|owner|name|email|', "
    "concat('|', translate(local-name(), 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'), '|'))]"
    f"[string-length(.) > {_MAX_NAME_CHARACTERS}]"
)
_MANY_ATTRIBUTES = etree.XPath(f"//*[@*[{_MAX_SIMILAR + 1}]]")
_MANY_CHILDREN = etree.XPath(f"//*[*[{_MAX_SIMILAR + 1}]]")


def find_root_offset(text: str) -> int:
    """Return the index of the root element, after the XML declaration, comments, and DOCTYPE."""
    at = 0
    while at < len(text) and (skipped := _BEFORE_ROOT.match(text, at)):
        at = skipped.end()
    return at


def repair_xml(text: str, *, item_pattern: str) -> tuple[bytes, bool]:
    """Return the XML as UTF-8 for strict parsers, and whether the document is truncated within an item.

    Document types are removed with all entities that they declare, so that none can expand. HTML's
    character references become characters. Anything that strict parsers still reject is recovered
    by libxml2. An item cut off by the end of the document is omitted.

    Args:
        text: the decoded document.
        item_pattern: a regular expression for the element names of items, such as "item|entry".

    Raises:
        ParseError: nothing can be recovered.
    """
    text = _repair_text(text)
    root, broken, is_strict = _read_tree(text, item_pattern)
    if not _prune_excess(root, item_pattern) and is_strict:
        return text.encode(), False
    return etree.tostring(root, encoding="utf-8"), broken


def parse_xml_tree(text: str, *, item_pattern: str) -> etree._Element:
    """Return the root element of an XML document, repaired as by `repair_xml`."""
    root, *_ = _read_tree(_repair_text(text), item_pattern)
    return root


def _read_tree(text: str, item_pattern: str) -> tuple[etree._Element, bool, bool]:
    """Parse a document, recovering what's possible.

    Return the root element, whether the document is truncated within an item, and whether it's well-formed.
    """
    try:
        return etree.fromstring(text.encode(), _xml_parser(recover=False)), False, True
    except etree.XMLSyntaxError as exc:
        return *_recover_tree(text, item_pattern, str(exc)[:200]), False


def _xml_parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        recover=recover, resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, encoding="utf-8"
    )


def _repair_text(text: str) -> str:
    text = _NON_XML_CHARACTERS.sub("", _strip_doctype(_DECLARATION.sub("", text)))
    if "&" in text:
        repair = partial(_REFERENCE.sub, _repair_reference)
        parts = _CDATA.split(text)
        parts[::2] = map(repair, parts[::2])
        text = "".join(parts)
    return text.lstrip()


def _strip_doctype(text: str) -> str:
    """Return a text without its document type and the declarations within it."""
    match = _DOCTYPE.search(text)
    if not match:
        return text
    close = text.find(">", match.end())
    bracket = text.find("[", match.end(), close)
    if bracket >= 0:
        inside = text.find("]", bracket)
        close = text.find(">", inside) if inside >= 0 else -1
    return text[: match.start()] + text[close + 1 :] if close >= 0 else text


def _repair_reference(match: re.Match[str]) -> str:
    """Return the replacement for a character reference.

    References defined by XML aren't changed, and those defined by HTML are replaced by characters.
    In others, the ampersand is escaped.
    """
    name = match[1]
    if name is None:
        return "&amp;"
    if name in _PREDEFINED:
        return match[0]
    if name[0] == "#":
        code = int(f"0{name[1:]}", 16) if name[1] in "xX" else int(name[1:])
        return f"&#{code};" if code <= 0x10FFFF and not _NON_XML_CHARACTERS.match(chr(code)) else ""
    return html5.get(f"{name};", f"&amp;{name};")


def _recover_tree(text: str, item_pattern: str, cause: str) -> tuple[etree._Element, bool]:
    text, broken = _drop_cut_item(_declare_prefixes(text), item_pattern)
    text = _repair_items(text, item_pattern)
    try:
        root = etree.fromstring(text.encode(), _xml_parser(recover=True))
    except etree.XMLSyntaxError:
        root = None
    if root is None:
        raise ParseError(f"The response isn't valid XML: {cause}. Report the problem to the publisher.")
    return root, broken


def _prune_excess(root: etree._Element, item_pattern: str) -> bool:
    """Remove excessive content, and return whether anything was removed.

    This means long author names, and hundreds of attributes or of children with one name.
    feedparser's time is quadratic in each.
    """
    names = _LONG_NAMES(root)
    for element in names:
        _shorten_name(element)
    crowded = _MANY_ATTRIBUTES(root)
    for element in crowded:
        for name in element.attrib.keys()[_MAX_SIMILAR:]:
            del element.attrib[name]
    is_item = re.compile(rf"(?is)(?:.*\}})?(?:{item_pattern})").fullmatch
    surplus = chain.from_iterable(map(_surplus_children, _MANY_CHILDREN(root)))
    extra = [child for child in surplus if not is_item(str(child.tag))]
    for child in extra:
        child.getparent().remove(child)
    return bool(names or crowded or extra)


def _shorten_name(element: etree._Element) -> None:
    text = "".join(element.itertext())[:_MAX_NAME_CHARACTERS]
    del element[:]
    element.text = text


def _surplus_children(parent: etree._Element) -> Iterator[etree._Element]:
    counts_by_tag: Counter[object] = Counter()
    for child in parent:
        counts_by_tag[child.tag] += 1
        if counts_by_tag[child.tag] > _MAX_SIMILAR:
            yield child


def _item_bounds(text: str, item_pattern: str) -> tuple[list[int], list[int]]:
    """Return the indices where items begin and those where they end."""
    opens = [match.start() for match in re.finditer(rf"<(?:[\w.-]{{1,40}}:)?(?i:{item_pattern})(?=[\s>])", text)]
    closes = [match.end() for match in re.finditer(rf"</(?:[\w.-]{{1,40}}:)?(?i:{item_pattern})\s*>", text)]
    return opens, closes


def _drop_cut_item(text: str, item_pattern: str) -> tuple[str, bool]:
    """Return the text without an incomplete last item, and whether there was one."""
    if _ROOT_END_TAG.search(text, max(0, len(text) - 4_000)):
        return text, False
    opens, closes = _item_bounds(text, item_pattern)
    if not opens or opens[-1] < max(closes, default=0):
        return text, False
    return text[: opens[-1]], True


def _repair_items(text: str, item_pattern: str) -> str:
    """Return the text with broken items' HTML in CDATA, so that no item can swallow the next."""
    opens, closes = _item_bounds(text, item_pattern)
    if len(opens) > _MAX_REPAIRED_ITEMS:
        return text
    namespaces = re.findall(r"\bxmlns(?::[\w.-]{1,40})?\s*=\s*[\"'][^\"'<>]{0,300}[\"']", text)
    declared = " ".join(dict.fromkeys(namespaces))
    pieces, at = [], 0
    for start, following in pairwise([*opens, len(text)]):
        last = bisect_right(closes, following) - 1
        end = closes[last] if last >= 0 and closes[last] > start else following
        pieces += [text[at:start], _repair_item(text[start:end], declared)]
        at = end
    return "".join([*pieces, text[at:]])


def _repair_item(piece: str, declared: str) -> str:
    try:
        etree.fromstring(f"<x {declared}>{piece}</x>".encode(), _xml_parser(recover=False))
    except etree.XMLSyntaxError:
        for name in ("title", "description", "summary", "content", "content:encoded"):
            piece = _wrap_in_cdata(piece, name)
    return piece


def _wrap_in_cdata(piece: str, name: str) -> str:
    """Wrap the content between the first `<name>` and the last `</name>` in CDATA.

    Content without markup isn't changed.
    """
    opening = re.search(rf"<{name}(?:\s[^<>]*)?(?<!/)>", piece)
    end = piece.rfind(f"</{name}>")
    if not opening or end < opening.end():
        return piece
    inner = piece[opening.end() : end]
    if "<" not in inner:
        return piece
    inner = inner.replace("<![CDATA[", "").replace("]]>", "")
    return f"{piece[: opening.end()]}<![CDATA[{inner}]]>{piece[end:]}"


def _declare_prefixes(text: str) -> str:
    """Return the text with undeclared namespace prefixes declared on the root element."""
    used = {match[1] or match[2] for match in _PREFIX.finditer(text)}
    missing = sorted(used - set(_NAMESPACE_DECLARATION.findall(text)) - {"xml", "xmlns"})
    name = re.compile(r"<[\w:.-]{1,80}").match(text, find_root_offset(text))
    if not name:
        return text
    declarations = text[: name.end()]
    for prefix in missing:
        declarations += f' xmlns:{prefix}="{_USUAL_NAMESPACES.get(prefix, f"urn:undeclared:{prefix}")}"'
    return declarations + text[name.end() :]

"""Prose from an article's HTML: its paragraphs, leaving out forms, tables, quotes, and the like."""

import re
from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple

import lxml.html
from lxml import etree

from digest.collect.texts import text_cleanup

_DROPPED_TAGS = frozenset(
    [
        "aside",
        "audio",
        "blockquote",
        "button",
        "canvas",
        "details",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "iframe",
        "label",
        "legend",
        "math",
        "nav",
        "noscript",
        "object",
        "pre",
        "script",
        "select",
        "style",
        "svg",
        "table",
        "template",
        "textarea",
        "video",
    ]
)
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_LIST_TAGS = frozenset(["dd", "dl", "dt", "li", "ol", "ul"])
_BLOCK_TAGS = (
    _DROPPED_TAGS
    | _HEADINGS
    | _LIST_TAGS
    | frozenset(["address", "article", "br", "center", "div", "hr", "main", "p", "section"])
)
# Elements that WordPress, its plug-ins, Elementor, and Divi put in a post, but that aren't part of its text.
_DROPPED_CLASS = re.compile(
    r"(?:^|[ _-])(?:newsletter|subscri(?:be|ptions?)|sign-?up|opt-?in|mc4wp|mailpoet|tnp|form|buttons?|btn|pull-?quote|blockquote|"
    r"testimonial|share(?:daddy)?|social|related(?:posts)?|author-?box|screen-reader-text|toc|caption)(?:$|[ _-])",
    re.IGNORECASE,
)
_MAX_CLASS_CHARACTERS = 300
# A leftover shortcode: one that closes, has attributes, or has a name that isn't used as a
# bracketed word.
_SHORTCODE = re.compile(
    r"\[(?P<caption>caption|wp_caption)\b[^\[\]]{0,1000}\][^\[\]]{0,1000}\[/(?:wp_)?caption\]"
    r"|\[(?:/[a-z][\w-]{1,40}|[a-z][\w-]{1,40}\s[^\[\]]{0,1000}?=[^\[\]]{0,1000}|[a-z]+(?:[_-]\w{1,20}){1,6}|gallery|playlist|embed|toc)/?\]",
    re.IGNORECASE,
)
_BLOCK_OR_SHORTCODE = re.compile(rf"<(?:{'|'.join(sorted(_BLOCK_TAGS))})[\s/>]|\[[a-z/]", re.IGNORECASE)
_MIN_WORDS = 4  # minimum number of words in a paragraph of prose
_MAX_NOTICE_WORDS = 12  # maximum number of words in a line that isn't text, such as a byline or a credit
_NOTICE = re.compile(
    r"(?:by|photos?|image|credit|source|updated|published|posted|share|related|skip|copyright|©)\b", re.IGNORECASE
)
_INVITATION = re.compile(
    r"(?:sign up|subscribe|join (?:us|our)|click|follow (?:us|@)|read more|continue reading|advertisement|enter your e-?mail|"
    r"get (?:the|our) [^.]{0,80}(?:inbox|e-?mail|newsletter)|this (?:post|article|story) (?:first |originally )?appeared)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?…:;。！？؟۔।][\"”’»')\]]*$")  # noqa: RUF001  full stops of many scripts


class _Block(NamedTuple):
    """A block's text, and the tag that classifies it: "p", "div", or that of a list or heading."""

    tag: str
    text: str


def extract_prose(markup: str) -> str:
    """Return the paragraphs of an HTML text on one line, each ending like a sentence.

    The result is empty if the text has no paragraphs. Only the first 60,000 characters are read.
    """
    text = ""
    for paragraph in list_paragraphs(markup):
        is_open = text and not _ends_sentence(text) and not paragraph[:1].islower()
        text = f"{text}{'.' if is_open else ''} {paragraph}".lstrip()
    return text


def strip_shortcodes(text: str) -> str:
    """Remove leftover WordPress shortcodes from plain text. Brackets such as "[sic]" are kept."""
    return text_cleanup.normalize_text(_SHORTCODE.sub(" ", text))


def list_paragraphs(markup: str) -> list[str]:
    """Return the paragraphs of prose in an HTML text.

    If there are none, return its other blocks, except for headings.
    """
    markup = markup[: text_cleanup.MAX_HTML_CHARACTERS]
    if "<" not in markup:
        markup = text_cleanup.unescape_html(markup)
    root = _read_fragment(markup) if _BLOCK_OR_SHORTCODE.search(markup) else None
    if root is None:
        return list(filter(None, [text_cleanup.html_to_text(markup)]))
    blocks = [block for block in _list_blocks(root, by_class=True) if block.tag not in _HEADINGS]
    prose = [block.text for block in blocks if _is_prose(block)]
    if not prose:  # for example, if a whole article is in an element called "newsletter"
        blocks = [block for block in _list_blocks(root, by_class=False) if block.tag not in _HEADINGS]
        prose = [block.text for block in blocks if _is_prose(block)]
    return prose or [block.text for block in blocks if not _INVITATION.match(block.text)]


def _read_fragment(markup: str) -> Any:
    """Return the root element of an HTML fragment, with comments removed, or None if the fragment is empty."""
    parser = lxml.html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    body = f"<html><body>{text_cleanup.escape_non_tags(markup)}</body></html>".encode("utf-8", "replace")
    try:
        return lxml.html.document_fromstring(body, parser=parser)
    except (etree.LxmlError, ValueError, AssertionError):
        return None


def _list_blocks(root: Any, *, by_class: bool) -> Iterator[_Block]:
    """Yield the blocks of text in order, except for those excluded by tag and, if `by_class`, by class."""
    parts: list[str] = []
    around = ["div"]  # the elements that determine the role of the text within them

    def take_block() -> Iterator[_Block]:
        text = text_cleanup.html_to_text(escape("".join(parts), quote=False))
        parts.clear()
        if text := strip_shortcodes(text):
            yield _Block(around[-1], text)

    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = str(element.tag)
        is_block = tag in _BLOCK_TAGS
        if is_block:
            yield from take_block()
        if event == "start":
            if _is_dropped(element, by_class=by_class):
                walk.skip_subtree()
            else:
                parts.append(element.text or "")
            around.append(tag if tag == "p" or tag in _HEADINGS or tag in _LIST_TAGS else around[-1])
        else:
            around.pop()
            parts.append(element.tail or "")
    yield from take_block()


def _is_dropped(element: Any, *, by_class: bool) -> bool:
    if element.tag in _DROPPED_TAGS or "hidden" in element.attrib or element.get("aria-hidden") == "true":
        return True
    if "display:none" in element.get("style", "").replace(" ", ""):
        return True
    names = element.get("class", "")[:_MAX_CLASS_CHARACTERS]
    return by_class and bool(_DROPPED_CLASS.search(names))


def _is_prose(block: _Block) -> bool:
    words = len(block.text.split())
    is_notice = words <= _MAX_NOTICE_WORDS and _NOTICE.match(block.text) and not block.text.endswith(".")
    if words < _MIN_WORDS or is_notice or _INVITATION.match(block.text):
        return False
    return block.tag == "p" or (block.tag == "div" and _ends_sentence(block.text))


def _ends_sentence(text: str) -> bool:
    return bool(_SENTENCE_END.search(text[-4:]))

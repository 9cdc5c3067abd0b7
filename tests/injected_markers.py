"""Texts that would run, be evaluated, or start a header if they weren't treated as text, and checks of the responses.

A marker carries a key of its own, so that whatever shows it can be traced back to the field that it was written into.
"""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import lxml.etree
import lxml.html

KEY = re.compile(r"mk\d{4}x")
EXPRESSION = "6871*6863"  # nothing else comes to the same number
EVALUATED = str(6871 * 6863)
PLANTED_HEADER = "X-Injected"
# What a browser goes to or loads: attributes that hold one address.
ADDRESS_ATTRIBUTES = frozenset({"href", "src", "action", "formaction", "data", "poster", "background", "cite", "ping"})
HARMLESS_SCHEMES = frozenset({"", "http", "https", "mailto"})
DATA_SCRIPTS = frozenset({"application/ld+json"})
CALENDAR_LINE = re.compile(r"(?:BEGIN|END|VERSION|PRODID|METHOD|CALSCALE|X-WR-CALNAME|X-WR-CALDESC|X-WR-TIMEZONE|X-PUBLISHED-TTL|REFRESH-INTERVAL"
    r"|NAME|DESCRIPTION|UID|DTSTAMP|DTSTART|DTEND|DUE|SUMMARY|LOCATION|URL|STATUS|TRANSP|CATEGORIES|CLASS|SEQUENCE|LAST-MODIFIED|CREATED"
    r"|ORGANIZER|SOURCE|COLOR|IMAGE)[;:]")  # fmt: skip
FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def make_marker(key: str) -> str:
    """Write a marker: it breaks out of quotes, attributes, comments and raw texts, and brings script, template and header.

    It has less than 150 characters: many a field takes no more.
    """
    script = f"<script>alert('{key}')</script><img src=x onerror=alert(1)>"
    template = f"{{{{{EXPRESSION}}}}}${{{EXPRESSION}}}{{% if %}}"
    return f"={key}'\"></textarea></title>-->{script}{template}\r\n{PLANTED_HEADER}: 1"


def make_short_marker(key: str) -> str:
    """Write a marker for a field of at most 60 characters."""
    return f"={key}'\"><img src=x onerror=alert(1)>{{{{{EXPRESSION}}}}}"


def make_script_address(key: str) -> str:
    """Write an address that a browser would run."""
    return f"javascript:alert('{key}')//{{{{{EXPRESSION}}}}}"


@dataclass
class MarkerJudge:
    """Looks at what the installation gives out: `seen` says where each key stood as a word, `faults` what was more than a word."""

    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    faults: list[str] = field(default_factory=list)
    _place: str = ""
    _keys: set[str] = field(default_factory=set)

    def look_at_answer(self, place: str, kind: str, headers: Iterable[tuple[str, str]], body: bytes) -> int:
        """Look at an answer, by its media type; return how many keys stand in it."""
        self._place, self._keys = place, set()
        for name, value in headers:
            self._look_at_header(name, value)
        text = body.decode("utf-8", "replace")
        if kind == "text/html":
            self._look_at_page(text)
        elif kind in {"application/json", "application/feed+json"}:
            self._look_at_json(json.loads(text))
        elif kind.endswith("xml") or kind == "text/x-opml":
            self._look_at_xml(body)
        elif kind == "text/calendar":
            self._look_at_calendar(text)
        elif kind == "text/csv":
            self._look_at_table(text)
        elif kind == "message/rfc822":
            self._look_at_mail(body)
        elif kind.startswith("text/"):
            self._note(text)
        return len(self._keys)

    def _blame(self, what: str) -> None:
        self.faults.append(f"{self._place}: {what}")

    def _note(self, text: str | None) -> None:
        """Keep which keys stand in a text that is only read."""
        if not text:
            return
        if "mk" in text:
            for key in KEY.findall(text):
                self._keys.add(key)
                self.seen[key].add(self._place)
        if EVALUATED in text:
            self._blame(f"an expression was evaluated: …{text[max(0, text.index(EVALUATED) - 60) :][:90]}")

    def _look_at_header(self, name: str, value: str) -> None:
        if name.lower() in {PLANTED_HEADER.lower(), "bcc"}:
            self._blame(f"a header {name} was planted")
        if re.search(r"[\r\n\0]", value):
            self._blame(f"the header {name} goes over a line")
        if name.lower() == "location":
            self._look_at_address("Location", value)
        self._note(value)

    def _look_at_address(self, name: str, value: str) -> None:
        # Browsers leave these out before they look for a scheme.
        address = re.sub(r"[\t\r\n]|^[\0- ]+", "", value)
        try:
            scheme = urlsplit(address).scheme
        except ValueError:
            scheme = address.partition(":")[0].lower()
        if scheme not in HARMLESS_SCHEMES:
            self._blame(f"{name} leads to {value[:80]!r}")

    def _look_at_page(self, text: str) -> None:
        if not text.strip():
            return
        for element in lxml.html.document_fromstring(
            text.encode(), parser=lxml.html.HTMLParser(encoding="utf-8")
        ).iter():
            if not isinstance(element.tag, str):
                if KEY.search(element.text or ""):
                    self._blame(f"a comment holds a marker: {(element.text or '')[:80]}")
                self._note(element.tail)
                continue
            for name, value in element.attrib.items():
                self._look_at_attribute(element, str(name), str(value))
            if element.tag == "script":
                self._look_at_script(element)
            elif element.tag == "style":
                if KEY.search(element.text or ""):
                    self._blame("a style sheet holds a marker")
            elif (element.tag == "base" and "href" in element.attrib) or (
                element.tag == "img" and element.get("src") == "x"
            ):
                self._blame(f"<{element.tag}> was planted")
            else:
                self._note(element.text)
            self._note(element.tail)

    def _look_at_attribute(self, element: Any, name: str, value: str) -> None:
        if name.startswith("on") or name == "srcdoc" or KEY.search(name):
            self._blame(f"<{element.tag}> has an attribute {name[:40]}={value[:60]!r}")
        if name == "style" and KEY.search(value):
            self._blame(f"a style holds a marker: {value[:80]}")
        if name in {"href", "src"} and not value:
            self._blame(f"<{element.tag} {name}> leads nowhere")
        if name in ADDRESS_ATTRIBUTES:
            self._look_at_address(f"<{element.tag} {name}>", value)
        if name == "content" and element.get("http-equiv") and KEY.search(value):
            self._blame(f"a header in the page holds a marker: {value[:80]}")
        self._note(value)

    def _look_at_script(self, element: Any) -> None:
        text = element.text or ""
        if element.get("type") in DATA_SCRIPTS:
            try:
                self._look_at_json(json.loads(text))
            except ValueError:
                self._blame(f"what is data of a page is no JSON: {text[:80]}")
        elif text.strip() or not str(element.get("src", "")).startswith("/"):
            self._blame(f"a script was planted: {text[:80]}")

    def _look_at_json(self, value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                if KEY.search(key):
                    self._blame(f"a marker names a value: {key[:80]}")
                self._look_at_json(one, key)
        elif isinstance(value, list):
            for one in value:
                self._look_at_json(one, name)
        elif isinstance(value, str):
            if name.endswith("html"):
                self._look_at_page(value)
            elif name in {"url", "@id", "home_page_url", "feed_url"}:
                self._look_at_address(name, value)
            self._note(value)

    def _look_at_xml(self, body: bytes) -> None:
        for element in lxml.etree.fromstring(body).iter():
            if not isinstance(element.tag, str):
                self._blame("a comment stands in a document for machines")
                continue
            tag = lxml.etree.QName(element).localname
            if tag in {"script", "img"}:
                self._blame(f"<{tag}> was planted")
            for name, value in element.attrib.items():
                self._look_at_attribute(element, str(name), str(value))
            if tag == "link" and element.text:
                self._look_at_address(tag, element.text)
            if element.get("type") == "html":
                self._look_at_page(element.text or "")
            self._note(element.text)
            self._note(element.tail)

    def _look_at_calendar(self, text: str) -> None:
        lines = text.replace("\r\n ", "").replace("\r\n\t", "").split("\r\n")
        for line in lines:
            if line and not CALENDAR_LINE.match(line):
                self._blame(f"a line of a calendar was planted: {line[:80]}")
            self._note(line)

    def _look_at_table(self, text: str) -> None:
        # Which character parts two cells, a spreadsheet decides by itself.
        for separator in ",;|\t":
            for cell in chain.from_iterable(csv.reader(io.StringIO(text), delimiter=separator)):
                if FORMULA.match(cell.strip(' "')) and not NUMBER.fullmatch(cell):
                    self._blame(f"a cell is a formula: {cell[:60]!r}")
        self._note(text)

    def _look_at_mail(self, raw: bytes) -> None:
        for part in message_from_bytes(raw, policy=policy.default).walk():
            for name, value in part.items():
                self._look_at_header(name, str(value))
            if part.is_multipart():
                continue
            text = read_part(part)
            if part.get_content_type() == "text/html":
                self._look_at_page(text)
            else:
                self._note(text)


def read_part(part: Message) -> str:
    """Give the text of a part of a mail."""
    assert isinstance(part, EmailMessage)
    content = part.get_content()
    return content if isinstance(content, str) else ""


def list_plantable_forms(key: str) -> Iterator[tuple[str, str]]:
    """Give what has to be found, each with its media type: a marker where an answer did not hold it for a word."""
    marker, script = make_marker(key), make_script_address(key)
    yield "text/html", f"<p>{marker}</p>"
    yield "text/html", f'<input value="{marker}">'
    yield "text/html", f"<input value={marker}>"
    yield "text/html", f"<textarea>{marker}</textarea>"
    yield "text/html", f"<p>x<!-- {key} --></p>"
    yield "text/html", f"<title>{marker}</title>"
    yield "text/html", f'<a href="{script}">x</a>'
    yield "text/html", f'<a href=" java\nscript:alert(1)">{key}</a>'
    yield "text/html", f"<p>{EVALUATED}</p>"
    yield "text/html", f"<style>p {{ color: {key} }}</style>"
    yield "text/html", f'<script type="application/ld+json">{{"name": "{marker}"}}</script>'
    yield "application/json", json.dumps({"content_html": marker})
    yield "application/json", json.dumps({"url": script})
    yield "application/atom+xml", f'<feed><entry><link href="{script}"/></entry></feed>'
    yield "application/atom+xml", f'<feed><content type="html"><![CDATA[{marker}]]></content></feed>'
    yield "text/calendar", f"BEGIN:VCALENDAR\r\nSUMMARY:{marker}\r\nEND:VCALENDAR\r\n"
    yield "text/csv", f'"{marker.replace(chr(34), chr(34) * 2)}"\r\n'
    yield "message/rfc822", f"Subject: {marker}\r\n\r\nx"
    yield "message/rfc822", f"Subject: x\r\nContent-Type: text/html\r\n\r\n<p>{marker}</p>"

"""Rules for the bytes of the message: size, syntax, headers, and parts."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from email.message import Message

from digest.edition.content.mailable_edition import FragmentKind
from digest.edition.content.slotted_text import LEAVE_SLOT
from digest.edition.preflight.rule_registry import (
    PreflightFinding,
    PreflightInput,
    error_finding,
    preflight_rule,
    warning_finding,
)
from digest.edition.rendering.slot_places import find_misplaced_slots
from digest.edition.rendering.template_filters import join_address_lines
from digest.settings.leftover_sample_values import (
    list_leftover_texts,
    list_sample_addresses,
    list_sample_sources,
    name_setting,
)
from subscribers.crypto import link_tokens
from subscribers.english_text import join_words

# Gmail shows the first 102 KB of a message's HTML. It hides the rest, including the unsubscribe link.
GMAIL_CLIP_SIZE = 102 * 1024
CLIP_WARNING_SIZE = 80 * 1024
SINGLE_FIELDS = (
    *("from", "date", "message-id", "to", "subject", "reply-to", "sender", "mime-version"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post", "feedback-id", "content-type"),
)
_PART_NAMES: dict[FragmentKind, str] = {
    "html": "HTML part",
    "text": "text part",
    "short": "HTML part of the short edition",
    "short-text": "text part of the short edition",
}
_FIX_TEMPLATE = "Correct the template or the sender settings, then draft the edition again."
_FIX_PLACEHOLDER = "Ask an admin to use leave, preferences, and my_data in the template only as whole links, and to keep URLs out of the line that contains asked."
REQUIRED_FIELDS = ("from", "date", "message-id", "to", "subject", "mime-version", "list-id")
STRUCTURED_FIELDS = ("List-Unsubscribe", "List-Unsubscribe-Post", "Message-ID", "List-Id", "Feedback-ID")


@preflight_rule("size")
def check_html_size(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The HTML part is smaller than 102 KB, the size at which Gmail clips it. At 80 KB, there's a warning."""
    octets = len(examined.html.encode())
    if octets > GMAIL_CLIP_SIZE:
        yield error_finding(f"The HTML is {octets // 1024} KB. Gmail clips emails at 102 KB.", "Remove some stories.")
    elif octets > CLIP_WARNING_SIZE:
        yield warning_finding(
            f"The HTML is {octets // 1024} KB, close to the 102 KB at which Gmail clips emails.",
            "Remove a story before you add another.",
        )


@preflight_rule("own-texts", is_for_admins=True)
def check_default_texts(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """A publication's texts, addresses, and sources are its own, not those of HLS.Today or the sample."""
    name = examined.file.publication.name
    if texts := list_leftover_texts(examined.file):
        yield error_finding(
            f"{name} still uses text from HLS.Today or the sample: {join_words(list(map(name_setting, texts)))}.",
            "Replace the text under Settings, then draft the edition again.",
        )
    if addresses := list_sample_addresses(examined.file):
        yield warning_finding(
            f"{name} still uses the sample's domain, news.example.org: {join_words(list(map(name_setting, addresses)))}.",
            "Replace the sample's domain under Settings.",
        )
    if sources := list_sample_sources(examined.file):
        yield warning_finding(
            f"{name} still uses the sample's sources: {join_words(sources)}.",
            "Remove the sample's sources under Sources.",
        )


@preflight_rule("templates", is_for_admins=True)
def check_custom_templates(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """All custom templates can be rendered, and their HTML tags are closed."""
    for mistake in examined.template_mistakes:
        yield error_finding(mistake, "Correct the template.")
    for mistake in examined.markup_mistakes:
        yield warning_finding(mistake, "Correct the template. Email apps may show the rest of the email differently.")


@preflight_rule("syntax", is_for_admins=True)
def check_message_syntax(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The message's line endings, line lengths, and header fields follow RFC 5322, section 2."""
    raw = examined.message
    if re.search(rb"(?<!\r)\n|\r(?!\n)", raw):
        yield error_finding("The message contains a bare CR or LF (RFC 5321, section 2.3.8).", _FIX_TEMPLATE)
    if max(map(len, raw.split(b"\r\n"))) > 998:
        yield error_finding("A line is longer than 998 octets (RFC 5322, section 2.1.1).", _FIX_TEMPLATE)
    head = raw.partition(b"\r\n\r\n")[0]
    if not head.isascii():
        yield error_finding("A header field contains non-ASCII bytes (RFC 5322, section 2.2).", _FIX_TEMPLATE)
    counts = Counter(name.lower() for name in examined.parsed_message)
    for name in SINGLE_FIELDS:
        if counts[name] > 1:
            yield error_finding(
                f"The header field {name} appears {counts[name]} times (RFC 5322, section 3.6).", _FIX_TEMPLATE
            )
    for name in REQUIRED_FIELDS:
        if not counts[name]:
            yield error_finding(
                f"The header field {name} is missing (RFC 5322, section 3.6, and RFC 2919, section 3).", _FIX_TEMPLATE
            )
    yield from _check_identifiers(head)
    for part in examined.parsed_message.walk():
        yield from _check_quoted_printable(part)


def _check_identifiers(head: bytes) -> Iterator[PreflightFinding]:
    unfolded = re.sub(rb"\r\n[ \t]+", b" ", head).decode("ascii", "replace")
    values = dict(re.findall(r"(?m)^([A-Za-z-]+): *(.*?)\r?$", unfolded))
    for name in STRUCTURED_FIELDS:
        value = values.get(name, "")
        # In List-Id, a display name before the angle brackets is a phrase, which may contain encoded words.
        if "=?" in (value.partition("<")[2] if name == "List-Id" else value):
            yield error_finding(f"{name} contains an encoded word (RFC 2047, section 5).", _FIX_TEMPLATE)
    if not re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", values.get("Message-ID", "")):
        yield error_finding("The Message-ID isn't of the form <left@right> (RFC 5322, section 3.6.4).", _FIX_TEMPLATE)
    if not re.search(r"<[\w!#$%&'*+/=?^`{|}~.-]+\.[\w.-]+>$", values.get("List-Id", "")):
        yield error_finding("The List-Id doesn't end in <label.domain> (RFC 2919, section 2).", _FIX_TEMPLATE)


def _check_quoted_printable(part: Message) -> Iterator[PreflightFinding]:
    if str(part.get("Content-Transfer-Encoding", "")).lower() != "quoted-printable":
        return
    lines = str(part.get_payload()).split("\n")
    if max(len(line.rstrip("\r")) for line in lines) > 76:
        yield error_finding(
            f"A quoted-printable line of {part.get_content_type()} has more than 76 characters (RFC 2045, section 6.7).",
            _FIX_TEMPLATE,
        )


@preflight_rule("one-click", is_for_admins=True)
def check_one_click(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """One-click unsubscribe (RFC 8058, section 3.1) works, and both parts have the unsubscribe link."""
    urls = examined.unsubscribe_urls
    addresses = [url for url in urls if url.startswith(("https://", "http://"))]
    if len(addresses) != 1 or (addresses[0].startswith("http://") and not examined.links_may_stay_here):
        yield error_finding(
            "List-Unsubscribe doesn't have exactly one https URL (RFC 8058, section 3.1).",
            "Set DIGEST_BASE_URL to an https URL.",
        )
        return
    length = len(f"<{addresses[0]}>")
    if length > 77:
        yield error_finding(
            f"The URL in List-Unsubscribe has {length} characters. Some providers corrupt it if it has more than 77.",
            "Use a shorter host in DIGEST_BASE_URL.",
        )
    yield from _check_unsubscribe_address(urls, addresses)
    if examined.parsed_message.get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click":
        yield error_finding(
            "List-Unsubscribe-Post isn't 'List-Unsubscribe=One-Click' (RFC 8058, section 3.1).", _FIX_TEMPLATE
        )
    if examined.drafted_base != examined.base:
        yield error_finding(
            f"The edition's links point to {examined.drafted_base}, but DIGEST_BASE_URL is now {examined.base}.",
            "Update the draft on its review page, or restore DIGEST_BASE_URL.",
        )
        return
    yield from _check_leave_links(examined, addresses[0])


def _check_unsubscribe_address(urls: Sequence[str], web_urls: Sequence[str]) -> Iterator[PreflightFinding]:
    """Yield a finding unless the only other URI, if any, is an email address that identifies the subscriber."""
    others = [url for url in urls if url not in web_urls]
    if not others:
        return
    token = link_tokens.convert_to_base32(web_urls[0].rpartition("/")[2])
    if len(others) > 1 or not re.fullmatch(rf"mailto:bounce\+{token}@[^@?]+\?subject=unsubscribe", others[0]):
        yield error_finding(
            "List-Unsubscribe has an email address that doesn't identify the subscriber (RFC 2369, section 3.2).",
            _FIX_TEMPLATE,
        )


def _check_leave_links(examined: PreflightInput, address: str) -> Iterator[PreflightFinding]:
    bodies = {"html": examined.html, "text": examined.text}
    for kind, part in examined.parts.items():
        is_slotted = any(slot == LEAVE_SLOT for _, slot in part.slots)
        if not is_slotted or address not in bodies.get(kind, address):
            yield error_finding(f"The {_PART_NAMES[kind]} doesn't have the unsubscribe link.", _FIX_TEMPLATE)


@preflight_rule("parts", is_for_admins=True)
def check_part_order(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The message is one multipart/alternative with text first and HTML last (RFC 2046, section 5.1.4)."""
    message = examined.parsed_message
    kinds = [part.get_content_type() for part in message.walk() if not part.is_multipart()]
    if message.get_content_type() != "multipart/alternative" or kinds != ["text/plain", "text/html"]:
        yield error_finding(
            f"The message must have the parts text/plain and text/html, but it has {join_words(kinds) or 'none'}.",
            _FIX_TEMPLATE,
        )


@preflight_rule("parity", is_for_admins=True)
def check_part_parity(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The text and HTML parts both have every headline and link."""
    words = {
        "text": _without_white_space(examined.text),
        "HTML": _without_white_space(" ".join(examined.tree.itertext())),
    }
    for section in examined.content.sections:
        for entry in section.entries:
            for kind, body in words.items():
                if _without_white_space(entry.headline) not in body:
                    yield error_finding(
                        f"“{entry.headline}” is missing from the {kind} part.", _FIX_TEMPLATE, section.title
                    )
            if entry.url and (entry.url not in examined.links or entry.url not in examined.text):
                yield error_finding(
                    f"The link for “{entry.headline}” is missing from one of the two parts.",
                    _FIX_TEMPLATE,
                    section.title,
                )


def _without_white_space(text: str) -> str:
    return "".join(text.split()).casefold()


@preflight_rule("placeholders")
def check_unfilled_placeholders(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Placeholders only end links to this site or state the sign-up source, and no template braces remain."""
    yield from _check_slots(examined)

    edition_text = json.dumps(examined.content.as_json(), ensure_ascii=False)
    bodies = {"subject": examined.content.subject, "HTML": examined.html, "text": examined.text}
    for place, body in bodies.items():
        for sign in ("{{", "{%", "%7B%7B", "%7b%7b"):
            if sign in body:  # if the edition's own text contains it, it's only a warning
                make_finding = warning_finding if sign in edition_text else error_finding
                yield make_finding(f"The {place} contains {sign}.", "Remove the braces, or correct the template.")


def _check_slots(examined: PreflightInput) -> Iterator[PreflightFinding]:
    # If all links have a different base URL, `check_one_click` reports it.
    if examined.drafted_base != examined.base:
        return
    for kind, part in examined.parts.items():
        for mistake in find_misplaced_slots(part, examined.base, is_html=kind in {"html", "short"}):
            yield error_finding(f"In the {_PART_NAMES[kind]}, {mistake}", _FIX_PLACEHOLDER)


@preflight_rule("postal-address", is_for_admins=True)
def check_postal_address(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Both parts have the postal address (CAN-SPAM, 15 USC 7704(a)(5))."""
    address = join_address_lines(examined.file.sender.postal_address)
    if not address:
        yield error_finding(
            "The publication has no postal address, which the law requires in every email.",
            "Enter the postal address under Settings.",
            settings="sender",
        )
        return
    bodies = {"text": examined.text, "HTML": " ".join(examined.tree.itertext())}
    for kind, body in bodies.items():
        if _without_white_space(address) not in _without_white_space(body):
            yield error_finding(f"The {kind} part doesn't have the postal address.", _FIX_TEMPLATE)

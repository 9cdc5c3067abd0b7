"""The doctor's checks for a received message.

They cover the receiver's results, signatures and what they sign, one-click unsubscribing, links,
and size. Findings contain only domains, results, and header names, because the message was sent to
a real person.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import dkim

from digest.app.doctor import dmarc
from digest.app.doctor.check_registry import (
    CheckRegistry,
    DoctorCheck,
    DoctorFindings,
    fill_in_finding,
    report_error,
    report_ok,
    report_warning,
)
from digest.app.doctor.network_access import LookupFailedError, NetworkAccess
from digest.deliver.compose.dkim import load_signer
from digest.deliver.events.mailbox.mime import MimePart, parse_header_address, parse_mime
from digest.deliver.providers.kind import DoctorFinding
from digest.deliver.providers.registry import join_provider_remedies
from digest.settings import Settings
from subscribers.errors import ApplicationError

MAX_MESSAGE_BYTES = 20_000_000
# Gmail cuts off messages at the first size (see docs/preflight.md).
MAX_HTML_BYTES, MANY_HTML_BYTES = 102 * 1024, 80 * 1024
_MAX_SIGNATURES = 10
_MAX_DEPTH = 3  # levels of nested parts: mixed, related, alternative
ONE_CLICK_FIELDS = ("list-unsubscribe", "list-unsubscribe-post")
METHODS = ("spf", "dkim", "dmarc")
_GOOD_RESULTS = frozenset({"pass", "none", "neutral"})
_RESULT = re.compile(r"\b(spf|dkim|dmarc)\s*=\s*([a-z]+)", re.IGNORECASE)
# Rewritten links: those for click tracking by providers, and those with a prefix from receivers'
# gateways.
_COUNTED_LINK = re.compile(rb"https?://[^\s\"'<>]*(?:/ls/click\?|/wf/open\?)", re.IGNORECASE)
_WRAPPED_LINK = re.compile(
    rb"https?://[^\s\"'<>/]*"
    rb"(?:safelinks\.protection\.outlook\.com|urldefense\.(?:com|proofpoint\.com)|linkprotect\.cudasvc\.com)",
    re.IGNORECASE,
)
# Silences dkimpy, because the findings already say what its messages would.
_SILENT_LOG = logging.getLogger("digest.doctor.dkimpy")
_SILENT_LOG.disabled = True
_HTTPS_LINK = re.compile(r"<(https://[^>\s]+)>")


class MessageFileError(ApplicationError):
    """Raised when the file isn't a complete message. The error says why and what to do."""


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A DKIM signature: its domain, the headers it covers, and the result of verifying it.

    `is_valid` is None if the signature couldn't be verified. Unless it's True, `trouble` says why.
    """

    domain: str
    selector: str
    covered: frozenset[str]
    is_valid: bool | None
    trouble: str = ""


@dataclass(frozen=True)
class ReceivedMessage:
    """A received message and its sender's settings.

    Without `network`, DNS isn't used, and only our own keys are known. `trusted_server` is the name
    that the receiver's server gives itself in its results (authserv-id, RFC 8601, section 2.5), or
    empty.
    """

    raw: bytes
    settings: Settings
    network: NetworkAccess | None = None
    trusted_server: str = ""

    @cached_property
    def _mime(self) -> MimePart:
        return parse_mime(self.raw)

    def list_values(self, name: str) -> list[str]:
        """Return the values of a header field, unfolded, in order from the top."""
        return self._mime.fields.all(name.lower())

    def read_domain(self, name: str) -> str:
        """Return the domain of the address in the topmost header of this name.

        If there's none, return an empty string.
        """
        topmost = next(iter(self.list_values(name)), "")
        return parse_header_address(topmost).rpartition("@")[2].lower()

    @cached_property
    def author_domain(self) -> str:
        """The domain of the address in the From header."""
        return self.read_domain("From")

    @cached_property
    def html(self) -> bytes:
        """The decoded HTML part, or an empty value if there's none."""
        part = _find_html_part(self._mime)
        return part.decoded_body(MAX_MESSAGE_BYTES) if part is not None else b""

    @cached_property
    def signatures(self) -> tuple[MessageSignature, ...]:
        """The DKIM signatures in order from the top.

        Each is verified if its key is known.
        """
        values = self.list_values("DKIM-Signature")[:_MAX_SIGNATURES]  # each takes a hash of the whole body
        return tuple(self._verify(at, value) for at, value in enumerate(values))

    def _verify(self, at: int, value: str) -> MessageSignature:
        tags = dmarc.parse_record_tags(value)
        signed_fields = tags.get("h", "").split(":")
        covered = frozenset(name.strip().lower() for name in signed_fields)
        domain, selector = tags.get("d", "").lower(), tags.get("s", "")
        if self.network is None and self._find_key(f"{selector}._domainkey.{domain}") is None:
            return MessageSignature(domain, selector, covered, None, "the key is in DNS")
        try:
            is_valid = dkim.DKIM(self.raw, logger=_SILENT_LOG).verify(
                at, dnsfunc=lambda name, **_: self._find_key(name.decode().rstrip("."))
            )
        except LookupFailedError as exc:
            return MessageSignature(domain, selector, covered, None, str(exc))
        except dkim.DKIMException as exc:
            return MessageSignature(domain, selector, covered, is_valid=False, trouble=str(exc))
        return MessageSignature(
            domain, selector, covered, is_valid=bool(is_valid), trouble="" if is_valid else "signed content was changed"
        )

    def _find_key(self, name: str) -> bytes | None:
        """Return the record of a key, or None if it isn't found.

        The record comes from DNS if there's `network`. Otherwise, only our own keys are found.
        """
        if self.network is not None:
            texts = self.network.dns.find_texts(name)
            return texts[0].encode() if texts else None
        signer = load_signer(self.settings)
        own = {f"{key.selector}._domainkey.{signer.domain}": key.dns_record() for key in signer.keys} if signer else {}
        return own[name].encode() if name in own else None

    def is_aligned(self, domain: str) -> bool:
        """Return True if a domain is aligned with the one in the From header.

        Without DNS, only the names of the domains are compared.
        """
        if self.network is not None:
            return dmarc.are_aligned(self.network.dns, self.author_domain, domain, strict=False)
        pair = sorted((self.author_domain, domain), key=len)
        return bool(domain) and (pair[0] == pair[1] or pair[1].endswith(f".{pair[0]}"))


def _find_html_part(part: MimePart, depth: int = 0) -> MimePart | None:
    """Return the HTML part of a message, even if it's nested in other parts, or None."""
    if part.media_type == "text/html":
        return part
    inner = part.parts() if depth < _MAX_DEPTH else []
    return next((html_part for inner_part in inner if (html_part := _find_html_part(inner_part, depth + 1))), None)


MESSAGE_CHECKS: CheckRegistry[ReceivedMessage] = CheckRegistry()
message_check = MESSAGE_CHECKS.check


def examine_message(received: ReceivedMessage) -> list[DoctorFinding]:
    """Run all checks for a received message, and return their findings.

    Raises:
        MessageFileError: the file is too large or has no From header.
    """
    if len(received.raw) > MAX_MESSAGE_BYTES:
        raise MessageFileError(
            f"This email is larger than {MAX_MESSAGE_BYTES // 1_000_000} MB. Save one without large attachments."
        )
    if not received.list_values("From"):
        raise MessageFileError(
            "This isn't a complete email: it has no From header. Save it with all its headers (“Show original,” .eml)."
        )
    checks = MESSAGE_CHECKS.values()
    return [fill_in_finding(check, finding) for check in checks for finding in _run(check, received)]


def restore_line_endings(raw: bytes) -> bytes:
    """Return a message with the CRLF line endings that it had when it was signed."""
    return re.sub(rb"\r?\n", b"\r\n", raw)


def _run(check: DoctorCheck[ReceivedMessage], received: ReceivedMessage) -> Sequence[DoctorFinding]:
    try:
        return list(check.examine(received))
    except ApplicationError as exc:
        return [report_warning(str(exc), "Try again.")]


@message_check("received-results", "Correct the DNS record that 'digest doctor --online' shows.")
def check_authentication_results(received: ReceivedMessage) -> DoctorFindings:
    """SPF, DKIM, and DMARC passed at the receiver."""
    trusted = received.trusted_server
    reported_results = _list_told_results(received)
    if not reported_results:
        yield report_warning(
            f"The message has no Authentication-Results header from {trusted or 'any mailbox provider'}.",
            "Save a copy of the message from a mailbox at a large provider.",
        )
        return
    results = _read_results(reported_results[0])
    word = _name_server(reported_results[0])
    if not trusted:
        word += " (this header can be forged; to be sure, pass the name of your mailbox provider's server with --trust)"
    if bad := {method: result for method, result in results.items() if result not in _GOOD_RESULTS}:
        make = report_error if trusted else report_warning
        yield make(f"{word} says {_write_results(bad)}.")
    else:
        yield report_ok(f"{word} says {_write_results(results) or 'nothing about SPF, DKIM, or DMARC'}")


def _list_told_results(received: ReceivedMessage) -> list[str]:
    """Return the authentication results, in order from the top.

    If a server is trusted, only its results are returned.
    """
    results = received.list_values("Authentication-Results")
    trusted = received.trusted_server.lower()
    return [value for value in results if trusted in ("", _name_server(value).lower())]


def _name_server(value: str) -> str:
    """Return the name of the server that added the results, or an empty string if it has none.

    The name is the authserv-id of RFC 8601, section 2.5.
    """
    words = value.partition(";")[0].split()
    return words[0] if words else ""


def _read_results(value: str) -> dict[str, str]:
    """Return the result of each authentication method, by method.

    If a method occurs twice, its first result counts.
    """
    result_pairs = reversed(_RESULT.findall(value.lower()))
    results = dict(result_pairs)
    return {method: results[method] for method in METHODS if method in results}


def _write_results(results: Mapping[str, str]) -> str:
    return ", ".join(f"{method}={result}" for method, result in results.items())


@message_check(
    "received-signature",
    "Find out what changes signed emails, such as a footer, click tracking, or rewrapped lines.",
)
def check_signatures(received: ReceivedMessage) -> DoctorFindings:
    """Every DKIM signature is valid."""
    if not received.signatures:
        yield report_error(
            "This email has no DKIM signature.",
            "Set DIGEST_DKIM_DOMAIN, DIGEST_DKIM_SELECTOR, and DIGEST_DKIM_KEY_FILE, or configure your mail "
            "server to sign.",
        )
    for signature in received.signatures:
        name = f"The signature of {signature.domain} ({signature.selector})"
        if signature.is_valid:
            yield report_ok(f"{name} is valid")
        elif signature.is_valid is None:
            yield report_warning(
                f"{name} couldn't be verified ({signature.trouble}).", "Run the command again with --online."
            )
        else:
            yield report_error(f"{name} failed verification ({signature.trouble}).")


@message_check(
    "received-coverage",
    "Sign here (set DIGEST_DKIM_DOMAIN), or have the signing server list List-Unsubscribe and List-Unsubscribe-Post in h=.",
)
def check_signed_headers(received: ReceivedMessage) -> DoctorFindings:
    """A signature covers both one-click unsubscribe headers (RFC 8058, section 4)."""
    sound = [signature for signature in received.signatures if signature.is_valid is not False]
    if any(set(ONE_CLICK_FIELDS) <= signature.covered for signature in sound):
        yield report_ok("List-Unsubscribe and List-Unsubscribe-Post are signed")
    else:
        yield report_error(
            "No valid signature covers both List-Unsubscribe and List-Unsubscribe-Post, so Gmail doesn't show its "
            "unsubscribe button."
        )


@message_check("received-alignment", "Sign with a domain of sender.address's organization.")
def check_message_alignment(received: ReceivedMessage) -> DoctorFindings:
    """A signature's domain is aligned with the From domain (DMARC)."""
    domains = [signature.domain for signature in received.signatures if signature.is_valid is not False]
    if aligned := [domain for domain in domains if received.is_aligned(domain)]:
        yield report_ok(f"signature of {aligned[0]} is aligned with {received.author_domain}")
        return
    path = received.read_domain("Return-Path")
    if path and received.is_aligned(path):
        yield report_warning(
            f"No signature is aligned with {received.author_domain}. Only the return path at {path} is."
        )
    else:
        yield report_error(f"Neither a signature nor the return path is aligned with {received.author_domain}.")


@message_check(
    "received-forwarding",
    "Check a message sent to an address that doesn't forward email.",
)
def check_arc_seals(received: ReceivedMessage) -> DoctorFindings:
    """Forwarders' ARC seals are valid (RFC 8617, section 4.1.3)."""
    seals = [dmarc.parse_record_tags(value) for value in received.list_values("ARC-Seal")]
    if any(seal.get("cv", "").lower() == "fail" for seal in seals):
        yield report_warning("The message was forwarded, and a forwarder's ARC seal is invalid.")
    elif seals:
        yield report_ok(f"forwarded and sealed (ARC) by {', '.join(sorted({seal.get('d', '?') for seal in seals}))}")
    else:
        yield report_ok("no ARC seals from forwarders")


@message_check(
    "received-one-click",
    "Compare it with the message as sent ('digest check'). " + join_provider_remedies("received-one-click"),
)
def check_one_click_fields(received: ReceivedMessage) -> DoctorFindings:
    """The one-click unsubscribe headers are correct (RFC 8058, section 3.1)."""
    links, posts = received.list_values("List-Unsubscribe"), received.list_values("List-Unsubscribe-Post")
    if len(links) != 1 or len(posts) != 1:
        yield report_error(
            f"The message has {len(links)} List-Unsubscribe and {len(posts)} List-Unsubscribe-Post headers instead "
            "of one each."
        )
    elif "=?" in links[0]:
        yield report_error("List-Unsubscribe was encoded (RFC 2047, section 5), so email apps can't read it.")
    elif len(_HTTPS_LINK.findall(links[0])) != 1:
        yield report_error("List-Unsubscribe doesn't contain exactly one https link.")
    elif posts[0] != "List-Unsubscribe=One-Click":
        yield report_error("List-Unsubscribe-Post isn't List-Unsubscribe=One-Click.")
    else:
        yield report_ok("both headers comply with RFC 8058, section 3.1")


@message_check("received-links", f"Turn off tracking at the relay. {join_provider_remedies('received-links')}")
def check_links(received: ReceivedMessage) -> DoctorFindings:
    """Links weren't rewritten to track clicks."""
    if _COUNTED_LINK.search(received.html):
        yield report_error("The links were rewritten to track opens and clicks.")
        return
    if _WRAPPED_LINK.search(received.html):
        yield report_warning(
            "The mailbox provider's filter rewrites the links and opens each one.",
            "No action is needed because opening a link doesn't change anything.",
        )
        return
    links = _HTTPS_LINK.findall(" ".join(received.list_values("List-Unsubscribe")))
    link = links[0] if links else ""
    if link and received.html and link.encode() not in received.html.replace(b"&amp;", b"&"):
        yield report_error("The unsubscribe link in the text differs from the one in the header.")
    else:
        yield report_ok("links are unchanged")


@message_check("received-size", "Remove stories, or lower a section's maximum. Relays must not add to the email.")
def check_size(received: ReceivedMessage) -> DoctorFindings:
    """The HTML part is under 102 KB, so Gmail shows all of it."""
    size = len(received.html)
    message = f"The HTML part is {size / 1024:,.0f} KB"
    if size >= MAX_HTML_BYTES:
        yield report_error(f"{message}. Gmail cuts off the end, including the unsubscribe link.")
    elif size >= MANY_HTML_BYTES:
        yield report_warning(f"{message}. Gmail cuts off email at 102 KB.")
    else:
        yield report_ok(message)

"""URLs in absolute and canonical form, so that each page has only one URL."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from urllib.parse import quote, unquote, urljoin, urlsplit

import idna

MAX_URL_CHARACTERS = 2_000
MIN_ABBREVIATION_LENGTH = 3  # letters of a name that abbreviates a host
_NAME_SEPARATORS = " ,:;|-\u2013\u2014()[]"

_TRACKING_NAMES = """
fbclid gclid gclsrc dclid gbraid wbraid msclkid yclid ysclid twclid ttclid igshid igsh li_fat_id mkt_tok
_hsenc _hsmi __hssc __hstc __hsfp hsctatracking oly_enc_id oly_anon_id vero_id vero_conv wickedid rb_clickid
s_cid s_kwcid cmpid cmp cmp_id ncid ito ico icid ocid xtor smid smtyp ref ref_src ref_url referrer referer
_ga _gl spm trk trkcampaign sc_cid sc_channel __twitter_impression fb_action_ids fb_action_types fb_source
traffic_source guccounter guce_referrer guce_referrer_sig soc_src soc_trk nr_email_referer sr_share sh
feed_id fromrss ftag wt_mc wt_zmc ml_subscriber ml_subscriber_hash emci emdi ceid mibextid epik
campaign_id rss_id taid sref srnd dicbo __s sms_ss awesm intcmp cvid ei_tracking usqp amp_js_v amp_gsa
"""
_TRACKING_PARAMETERS = frozenset(_TRACKING_NAMES.split())
_TRACKING_PREFIXES = ("utm_", "mc_", "hsa_", "pk_", "mtm_", "piwik_", "matomo_", "ns_", "at_", "guce_")
# Parameters that select the page on some sites. They're dropped only if the value is a known
# traffic source.
_ORIGIN_PARAMETERS = {"source", "src", "from", "partner", "emc", "mod", "via", "output", "outputtype"}
_ORIGIN_VALUE = re.compile(
    r"(?:rss|feed|atom|amp|twitter|facebook|newsletter|email|social|share)(?:[_:./-].*)?", re.IGNORECASE
)
_FLAG_PARAMETERS = {"amp", "_amp", "isamp", "rss"}

_HOST_PATTERN = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*|\[[0-9a-f:.]+\]"
)
_INDEX_PAGE = re.compile(r"/(?:index|default)\.(?:html?|php|aspx?|jsp)$", re.IGNORECASE)
_PERCENT_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SPACES = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ufeff]+")
_ILLEGAL_CHARACTERS = re.compile(r"[\"<>^`{|}\\\x00-\x20\x7f\ud800-\udfff]")


def absolute_url(link: str, base: str | None = None) -> str:
    """Return a link as published, but absolute and without invalid characters.

    Args:
        link: the publisher's link; surrounding spaces, and line breaks within it, are removed.
        base: the URL against which relative links are resolved.

    Raises:
        ValueError: the URL is empty, too long, not http or https, without a host, or with
            credentials.
    """
    address = _SPACES.sub(" ", link).strip()
    if not address:
        raise ValueError("the link is empty")
    if len(address) > MAX_URL_CHARACTERS:
        raise ValueError(f"the URL has {len(address):,} characters, over the limit of {MAX_URL_CHARACTERS:,}")
    joined = urljoin(base, address) if base else address
    joined = _ILLEGAL_CHARACTERS.sub(lambda illegal: quote(illegal[0], errors="replace"), joined)
    _split_url(joined)
    return joined


def usable_url(link: str, base: str | None = None) -> str | None:
    """Return the result of `absolute_url`, or None if the link isn't usable."""
    try:
        return absolute_url(link, base)
    except ValueError:
        return None


def canonical_url(url: str, base: str | None = None) -> str:
    """Return the canonical URL of a page, regardless of how it was linked to. Idempotent.

    The scheme is https unless the URL has a nondefault port. The host is in lower case and in
    A-labels. There's no default port, fragment, tracking parameter, AMP form, or trailing
    index.html. The other parameters are sorted, dot segments are resolved, and percent-encoding is
    normalized (RFC 3986, section 6.2.2).

    Raises:
        ValueError: the URL isn't usable; see `absolute_url`. The message says why.
    """
    canonical = absolute_url(url, base)
    while (simplified := _canonicalise_once(canonical)) != canonical:  # "/a/amp/index.html" takes two rounds
        canonical = simplified
    return canonical


def usable_canonical_url(link: str, base: str | None = None) -> str:
    """Return the result of `canonical_url`, or "" if the link isn't usable."""
    try:
        return canonical_url(link, base)
    except ValueError:
        return ""


def strip_tracking(link: str) -> str:
    """Return a link as published, without the parameters that only identify the traffic source.

    The scheme and the order of the parameters don't change, so the link leads to the intended page.
    """
    return _without_parameters(link, lambda name, value: _is_tracking_parameter(name.strip().lower(), value))


def _without_parameters(link: str, is_unwanted: Callable[[str, str], bool]) -> str:
    """Return a link without the query parameters whose decoded names and values satisfy `is_unwanted`.

    The rest isn't changed.
    """
    address, question_mark, query = link.partition("?")
    query, hash_, fragment = query.partition("#")
    if not question_mark:
        return link
    kept_parameters = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if not is_unwanted(unquote(name), unquote(value)):
            kept_parameters.append(pair)
    query = "&".join(kept_parameters)
    return f"{address}{question_mark if query else ''}{query}{hash_}{fragment}"


def remove_email_address_parameters(link: str) -> str:
    """Return a link without the parameters that contain an email address.

    Email services use these to identify recipients.
    """
    return _without_parameters(link, lambda _, value: "@" in value)


def site_name(url: str) -> str:
    """Return a URL's host without "www.", or "" if it has none."""
    return (urlsplit(url).hostname or "").removeprefix("www.")


def guess_registered_domain(url: str) -> str:
    """Guess the registered domain of a URL's host, without using a suffix list.

    For example, it's "example.co.uk" for "blog.example.co.uk".
    """
    labels = (urlsplit(url).hostname or "").split(".")
    has_short_suffix = len(labels[-1]) == 2 and len("".join(labels[-2:-1])) <= 3
    return ".".join(labels[-3 if has_short_suffix else -2 :])


def find_publisher_name(title: str, pages: Iterable[str]) -> str:
    """Return the words of a feed's title that spell its pages' host, or else the whole title.

    For example, "NBC News World" gives "NBC News", so that all sections of a site have the same
    publisher. The name may begin with "the", end with "News", or contain a subdomain.
    Without one, a word in capitals that the host begins with is the name ("NYT" of "NYT World" at nytimes.com).

    Args:
        title: the feed's title.
        pages: URLs of its articles, or of its site.
    """
    hosts = Counter(filter(None, map(site_name, pages)))
    host = max(hosts, key=hosts.__getitem__, default="")
    words = title.split()
    if not host:
        return title
    site, _, _ = guess_registered_domain(f"https://{host}").partition(".")
    subdomain = host.partition(f"{site}.")[0]
    spelled = (site, f"{site}news", site + subdomain, subdomain + site, host)
    spellings = {_spell_name(name).removeprefix("the") for name in spelled}
    longest_first = (words[n : n + length] for length in range(len(words), 0, -1) for n in range(len(words)))
    named = (
        part
        for part in longest_first
        if all(map(_spell_name, part)) and _spell_name(part).removeprefix("the") in spellings
    )
    abbreviations = ([word] for word in words if not title.isupper() and _is_abbreviation(word, site))
    return " ".join(next(chain(named, abbreviations), words)).strip(_NAME_SEPARATORS)


def _is_abbreviation(word: str, site: str) -> bool:
    return len(word) >= MIN_ABBREVIATION_LENGTH and word.isupper() and site.startswith(word.casefold())


def _spell_name(words: Iterable[str]) -> str:
    return "".join(filter(str.isalnum, chain.from_iterable(words))).casefold()


_EXAMPLE_HOST = re.compile(r"(?:.+\.)?example(?:\.(?:com|net|org))?|(?:.+\.)?(?:invalid|test)", re.IGNORECASE)


def is_example_site(url: str) -> bool:
    """Return True if a URL's host is reserved for examples (RFC 2606, sections 2 and 3)."""
    return _EXAMPLE_HOST.fullmatch(urlsplit(url).hostname or "") is not None


def _canonicalise_once(url: str) -> str:
    scheme, host, port, path, query = _split_url(url)
    inner = _unwrap_google_url(host, path, query)
    if inner:
        return absolute_url(inner)
    if host.startswith("amp.") and host.count(".") > 1:
        host = host.removeprefix("amp.")
    path = _strip_amp(_normalize_encoding(_resolve_dot_segments(path)))
    path = _INDEX_PAGE.sub("/", path) or "/"
    query = _canonical_query(query)
    own_port = port not in {None, 80, 443}
    result = f"{scheme if own_port else 'https'}://{host}{f':{port}' if own_port else ''}{path}"
    result += f"?{query}" if query else ""
    if len(result) > MAX_URL_CHARACTERS:
        raise ValueError(f"the URL has {len(result):,} characters, over the limit of {MAX_URL_CHARACTERS:,}")
    return result


def _split_url(url: str) -> tuple[str, str, int | None, str, str]:
    """Return the scheme, host, port, path, and query of an absolute URL.

    Raises:
        ValueError: the URL isn't usable. The message says why.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"not an http or https URL: {_printable(url)}")
    if "@" in parts.netloc:
        raise ValueError("the URL contains a user name or password")
    host = _normalize_host(parts.hostname or "", parts.netloc)
    return parts.scheme, host, parts.port, parts.path, parts.query


def _normalize_host(name: str, netloc: str) -> str:
    name = f"[{name}]" if netloc.startswith("[") else name.removesuffix(".")
    if not name.isascii():
        name = ascii_host(name)
    if len(name) > 253 or not _HOST_PATTERN.fullmatch(name):
        raise ValueError(f"not a valid host: {_printable(name)}")
    return name


@lru_cache(maxsize=4096)
def ascii_host(name: str) -> str:
    """Return a host name in A-labels.

    The conversion follows UTS 46, as in browsers, unlike Python's own codec.

    Raises:
        ValueError: the name can't be converted.
    """
    try:
        return idna.encode(name[:253], uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as exc:
        raise ValueError(f"not a valid host: {_printable(name)}") from exc


def _printable(text: str) -> str:
    return ascii(text[:60])


def _unwrap_google_url(host: str, path: str, query: str) -> str | None:
    """Return the target of a Google URL, or None.

    The forms are /amp/s/HOST/PATH, HOST.cdn.ampproject.org/c/s/HOST/PATH, and /url?url=….
    """
    is_google = re.fullmatch(r"(?:www\.)?google(?:\.[a-z]{2,3}){1,2}", host)
    if is_google and path == "/url":
        return _google_redirect_target(query)
    if not is_google and not f".{host}".endswith(".cdn.ampproject.org"):
        return None
    match = re.fullmatch(r"/([a-z]+)/(s/)?([^/]+\.[^/]+(?:/.*)?)", path)
    if not match or (is_google and match[1] != "amp"):
        return None
    return f"http{'s' if match[2] else ''}://{match[3]}" + (f"?{query}" if query else "")


def _google_redirect_target(query: str) -> str | None:
    """Return the target of a Google redirect, as used in Google Alerts, or None."""
    parameters = dict(pair.partition("=")[::2] for pair in query.split("&"))
    target = unquote(parameters.get("url") or parameters.get("q") or "")
    return target if re.match(r"https?://", target) else None


def _resolve_dot_segments(path: str) -> str:
    segments_so_far: list[str] = []
    plain = ""
    for segment in path.split("/"):
        plain = unquote(segment)
        if plain == "..":
            segments_so_far[1:] = segments_so_far[1:-1]
        elif plain != ".":
            segments_so_far.append(segment)
    if plain in {".", ".."}:
        segments_so_far.append("")
    joined = "/".join(segments_so_far)
    return joined if joined.startswith("/") else f"/{joined}"


def _strip_amp(path: str) -> str:
    """Return a path without AMP markers, unless it consists of only a marker."""
    if path.lower() in {"/amp", "/amp/"}:
        return path
    path = re.sub(r"(?i)/amp(/?)$", r"\1", path)
    path = re.sub(r"(?i)^/amp/(?=.)", "/", path)
    return re.sub(r"(?i)\.amp(\.html?)?$", r"\1", path) or "/"


def _normalize_encoding(text: str, safe: str = "/:@!$&'()*+,;=") -> str:
    """Normalize percent-encoding.

    Unreserved characters are decoded, hexadecimal digits are in upper case, and other characters are encoded.
    """

    def normalize_escape(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    escaped = _PERCENT_ESCAPE.sub(normalize_escape, text)
    escaped = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", escaped)
    return quote(escaped, safe=f"{safe}%~", errors="replace")


def _canonical_query(query: str) -> str:
    parameters = set()
    for pair in query.replace("+", "%20").split("&"):
        name, equals, value = pair.partition("=")
        if pair and not _is_tracking_parameter(unquote(name).strip().lower(), unquote(value)):
            parameters.add(
                _normalize_encoding(name, "/:@!$'()*,;") + equals + _normalize_encoding(value, "/:@!$'()*,;=?")
            )
    return "&".join(sorted(parameters))


def _is_tracking_parameter(name: str, value: str) -> bool:
    return (
        name in _TRACKING_PARAMETERS
        or name.startswith(_TRACKING_PREFIXES)
        or (name in _ORIGIN_PARAMETERS and _ORIGIN_VALUE.fullmatch(value) is not None)
        or (name in _FLAG_PARAMETERS and value.lower() in {"", "1", "true", "yes"})
    )

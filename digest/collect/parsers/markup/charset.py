"""Detecting a document's character encoding, regardless of the encoding that it declares."""

import codecs
import re
from contextlib import suppress

from charset_normalizer import from_bytes

# Byte-order marks. Longer ones come first, because UTF-32's begins with UTF-16's. UTF-16 without a
# mark has zero bytes next to its first characters, which are ASCII in all our kinds of documents.
_MARKS = {
    "utf-8": re.compile(rb"\xef\xbb\xbf"),
    "utf-32-le": re.compile(rb"\xff\xfe\0\0"),
    "utf-32-be": re.compile(rb"\0\0\xfe\xff"),
    "utf-16-le": re.compile(rb"\xff\xfe|(?=[^\0]\0[^\0]\0)"),
    "utf-16-be": re.compile(rb"\xfe\xff|(?=\0[^\0]\0[^\0])"),
}
_DECLARED_CHARSET = re.compile(
    rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})|<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})",
    re.IGNORECASE,
)
_JAPANESE_ESCAPE = re.compile(rb"\x1b\$[@B][\x21-\x7e]{2}")  # ISO-2022-JP, which is 7-bit
_GUESSED_CODECS = ["cp932", "euc_jp", "cp949", "gb18030", "big5", "cp1251", "koi8_r", "koi8_u", "iso8859_5", "cp1252"]
_MARKUP = re.compile(rb"[<>\r\n]+")
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")
_LOOKED_AT_BYTES = 2_000_000
_SAMPLE_BYTES = 20_000
_FEWEST_HIGH_BYTES = 12
# Codecs that documents don't use or that other programs decode differently.
_REFUSED_CODEC = re.compile("utf-?7|utf-(?:16|32).*|idna|punycode|(?:raw_)?unicode_escape|undefined|mbcs|oem")


def decode_document_text(
    body: bytes,
    charset: str | None = None,
) -> str:
    """Return a document's text without a byte-order mark. This function never raises an error.

    A byte-order mark takes precedence. Next, valid UTF-8 is UTF-8, whatever is declared: text in
    other encodings is almost never valid UTF-8, and wrong declarations are common. Then come the
    document's own declaration, the HTTP header's, and detection of undeclared Japanese, Korean,
    Chinese, or Cyrillic. The last resort is UTF-8 with each bad byte decoded as windows-1252.

    Args:
        body: the document as received.
        charset: the charset from the HTTP header, if any.
    """
    for name, mark in _MARKS.items():
        if marked := mark.match(body):
            return body[marked.end() :].decode(name, "replace")
    declared = _declared_codec(body)
    if not declared.startswith("iso2022"):  # 7-bit, so it would be taken for UTF-8
        with suppress(UnicodeDecodeError):
            # Strict, except for an incomplete character at the end of a truncated document.
            return codecs.getincrementaldecoder("utf-8")("strict").decode(body, final=False)
    if declared in _UNRELIABLE_DECLARATIONS:
        declared = _codec_name(charset or "")
    codec = _guess_codec(body) if declared in _UNRELIABLE_DECLARATIONS else declared
    with suppress(UnicodeError, ValueError):
        return body.decode(codec or "utf-8", "replace" if codec else _FALLBACK_HANDLER)
    return body.decode("utf-8", _FALLBACK_HANDLER)


def _guess_codec(body: bytes) -> str:
    """Return the encoding of text in a non-Latin script, or "" for other text.

    Accents and quotation marks in Latin scripts are single bytes among ASCII, so if most high bytes
    are isolated, nothing is detected. The same goes for UTF-8 with a few bad bytes.
    """
    pieces = _MARKUP.split(body[:_LOOKED_AT_BYTES])
    sample = b"\n".join(piece for piece in pieces if not piece.isascii())[:_SAMPLE_BYTES]
    runs = [len(run) for run in _HIGH_BYTES.findall(sample)]
    high, alone = sum(runs), runs.count(1)
    bad = sum("\udc80" <= character <= "\udcff" for character in sample.decode("utf-8", "surrogateescape"))
    if high < max(_FEWEST_HIGH_BYTES, 2 * alone) or 2 * bad < high:
        return ""
    best = from_bytes(sample, cp_isolation=_GUESSED_CODECS, enable_fallback=False).best()
    return "" if best is None or best.encoding == "cp1252" else best.encoding


def _declared_codec(body: bytes) -> str:
    match = _DECLARED_CHARSET.search(body[:4096])
    codec = _codec_name((match[1] or match[2]).decode("ascii")) if match else ""
    return codec or ("iso2022_jp" if _JAPANESE_ESCAPE.search(body) else "")


def _codec_name(name: str) -> str:
    """Return the normalized name of a codec, or "" if it's unknown or unsuitable.

    Latin-1 is windows-1252, as in browsers (WHATWG Encoding, section 4.2).
    """
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return ""
    # If a document has no zero bytes, UTF-16 and UTF-32 are wrong declarations. Only
    # `_is_text_encoding` distinguishes text from "zlib".
    if not codec._is_text_encoding or _REFUSED_CODEC.fullmatch(codec.name):  # noqa: SLF001
        return ""
    return "cp1252" if codec.name == "iso8859-1" else codec.name


_UNRELIABLE_DECLARATIONS = {"", "utf-8", "ascii"}  # wrong if a document isn't valid UTF-8
_FALLBACK_HANDLER = "digest.windows-1252"


def _decode_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    """Decode each byte that isn't UTF-8 as windows-1252. Some documents mix the two."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(_FALLBACK_HANDLER, _decode_bad_bytes)

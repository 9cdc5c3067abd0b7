"""From bytes to text: which characters a document is written in, whatever it declares."""

import codecs
import re

from charset_normalizer import from_bytes

_BOMS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
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
_HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
# Codecs that are no document's, or that another program reads differently from us.
_REFUSED_CODEC = re.compile("utf-?7|idna|punycode|(?:raw_)?unicode_escape|undefined|mbcs|oem")


def decode_document(body: bytes, charset: str | None = None, content_type: str | None = None) -> str:
    """Return a document's text, without byte-order mark.

    A byte-order mark wins. Then valid UTF-8 is UTF-8, whatever is declared: text in another encoding is
    practically never valid UTF-8 by chance, and wrong declarations are common. Then the document's own
    declaration, the HTTP header's, what the bytes look like (Japanese, Korean, Chinese or Cyrillic that says nothing
    of itself), and UTF-8 in which each bad byte is read as windows-1252. Never raises.

    Args:
        body: the document as it came.
        charset: the charset of the HTTP header, if it names one.
        content_type: the whole Content-Type header, looked at where `charset` is not given.
    """
    for bom, name in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(name, "replace")
    if wide := _detect_utf16(body):
        return body.decode(wide, "replace")
    declared = _declared_codec(body) or ("iso2022_jp" if _JAPANESE_ESCAPE.search(body) else None)
    if not (declared and declared.startswith("iso2022")):  # 7-bit, so it would pass for UTF-8
        try:
            # Strictly, but for a character that the end of a truncated document cuts through.
            return codecs.getincrementaldecoder("utf-8")("strict").decode(body, final=False)
        except UnicodeDecodeError:
            pass
    header = _HEADER_CHARSET.search(content_type or "")
    for codec in (declared, _codec_name(charset or ""), _codec_name(header[1] if header else "")):
        if codec and codec not in {"utf-8", "ascii"}:
            return _decode_as(body, codec)
    if guessed := _guess_codec(body):
        return _decode_as(body, guessed)
    return body.decode("utf-8", _FALLBACK_HANDLER)


def _guess_codec(body: bytes) -> str | None:
    """Tell the encoding of a text whose letters are not Latin; None: it is, or is UTF-8 with a few bad bytes.

    Accents and quotation marks of Latin scripts stand alone among ASCII, so where most high bytes do, nobody is asked.
    """
    pieces = _MARKUP.split(body[:_LOOKED_AT_BYTES])
    sample = b"\n".join(piece for piece in pieces if not piece.isascii())[:_SAMPLE_BYTES]
    high = sum(map(len, _HIGH_BYTES.findall(sample)))
    together = sum(len(run) for run in _HIGH_BYTES.findall(sample) if len(run) > 1)
    bad = sum("\udc80" <= character <= "\udcff" for character in sample.decode("utf-8", "surrogateescape"))
    if high < _FEWEST_HIGH_BYTES or 2 * together < high or 2 * bad < high:
        return None
    best = from_bytes(sample, cp_isolation=_GUESSED_CODECS, enable_fallback=False).best()
    return None if best is None or best.encoding == "cp1252" else best.encoding


def _detect_utf16(body: bytes) -> str | None:
    """Tell UTF-16 without a byte-order mark by the zero bytes beside its first character, which is ASCII in all our kinds."""
    head = body[:4]
    if len(head) == 4 and head[0] and not head[1] and head[2] and not head[3]:
        return "utf-16-le"
    if len(head) == 4 and not head[0] and head[1] and not head[2] and head[3]:
        return "utf-16-be"
    return None


def _declared_codec(body: bytes) -> str | None:
    match = _DECLARED_CHARSET.search(body[:4096])
    return _codec_name((match[1] or match[2]).decode("ascii")) if match else None


def _codec_name(name: str) -> str | None:
    """Return the codec's normalised name; Latin-1 is read as windows-1252, as browsers do (WHATWG Encoding)."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if not codec._is_text_encoding or _REFUSED_CODEC.fullmatch(codec.name):  # noqa: SLF001  the only way to tell "zlib" from text
        return None
    wide = codec.name.startswith(("utf-16", "utf-32"))  # without zero bytes it is declared, but not true
    return None if wide else "cp1252" if codec.name == "iso8859-1" else codec.name


def _decode_as(body: bytes, name: str) -> str:
    try:
        return body.decode(name, "replace")
    except (UnicodeError, ValueError):
        return body.decode("utf-8", _FALLBACK_HANDLER)


_FALLBACK_HANDLER = "digest.windows-1252"


def _decode_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    """Read each byte that isn't UTF-8 as windows-1252: documents are pasted together from both."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(_FALLBACK_HANDLER, _decode_bad_bytes)

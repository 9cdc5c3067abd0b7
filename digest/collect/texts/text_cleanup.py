"""Converting publishers' HTML to clean plain text, shortened at the end of a sentence."""

import html
import re
import unicodedata
from collections.abc import Iterator

import nh3

MAX_TITLE_CHARACTERS = 300
MAX_SUMMARY_CHARACTERS = 1_000
MAX_NAME_CHARACTERS = 200  # length of the columns for names and places
MAX_HTML_CHARACTERS = 60_000  # a summary comes from the start of a text, so the rest isn't read

_DROPPED_TAGS = {"script", "style", "template", "iframe", "object", "noscript", "svg", "math", "select"}
_KNOWN_TAGS = (
    "a abbr acronym address applet area article aside audio b base bdi bdo big blink blockquote body br button "
    "canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed "
    "fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i "
    "iframe img input ins kbd label legend li link main map mark marquee math menu meta meter nav nobr noscript "
    "object ol optgroup option output p param path picture pre progress q rp rt ruby s samp script section select "
    "small source span strike strong style sub summary sup svg table tbody td template textarea tfoot th thead "
    "time title tr track tt u ul var video wbr xml"
)
# "x < y" and "<jane@example.org>" are text. A name that contains - or : is a custom element, or one
# from Office.
_NON_TAG = re.compile(
    rf"<(?!/?(?:(?:{'|'.join(_KNOWN_TAGS.split())})(?=[\s/>])|[a-z][a-z0-9]*[:-][a-z])|!--|!\[|\?xml)", re.IGNORECASE
)
_BLOCK_TAG = re.compile(
    r"<(?=/?(?:address|article|aside|blockquote|br|caption|dd|div|dl|dt|fig\w+|footer|form|h[1-6]|header|hr|li|"
    r"main|nav|ol|option|p|pre|section|table|t[dhr]|tbody|thead|ul)[\s/>])",
    re.IGNORECASE,
)
_SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can contain lone surrogates, but UTF-8 can't
_BROKEN_CDATA = re.compile(r"^\s*<?!?\[CDATA\[|\]\]>?\s*$")  # written by a generator that lost a bracket
_REMAINING_MARKUP = re.compile(
    r"</(?:p|a|div|span|strong|em|b|i|ul|li|script|style|h\d)>|<br ?/?>|<img\s", re.IGNORECASE
)


def html_to_text(markup: str) -> str:
    """Return the words of an HTML text on one line, leaving out scripts and styles.

    Entities are decoded, even if they're escaped twice. Only the first 60,000 characters are read.
    """
    text = _SURROGATES.sub("", markup[:MAX_HTML_CHARACTERS])
    for _ in range(3):  # a feed may escape its HTML twice
        if "<" in text:
            spaced = _BLOCK_TAG.sub(" <", escape_non_tags(text))
            text = nh3.clean(spaced, tags=set(), clean_content_tags=_DROPPED_TAGS)
        text = unescape_html(text)
        if not _REMAINING_MARKUP.search(text):
            break
    if "&" in text:
        text = unescape_html(text)
    if "CDATA[" in text:
        text = _BROKEN_CDATA.sub("", text)
    return normalize_text(text)


def escape_non_tags(markup: str) -> str:
    """Escape every "<" that doesn't begin an HTML tag, as in "x < y"."""
    return _NON_TAG.sub("&lt;", markup)


_ATTRIBUTE = re.compile(r"([\w:-]{1,30})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")


def read_attributes(tag: str) -> dict[str, str]:
    """Return the attributes of an HTML tag by lowercase name, with the values as written."""
    pairs = _ATTRIBUTE.findall(tag)
    return {name.lower(): "".join(values) for name, *values in pairs}


_LONG_REFERENCE = re.compile(r"&((?:amp;)*)#(?:([0-9]{8,})|[xX]([0-9a-fA-F]{8,}));?")


def unescape_html(text: str) -> str:
    """Decode character references as HTML does.

    Unlike `html.unescape`, this works even for references with thousands of digits.
    """
    return html.unescape(normalize_numeric_references(text))


def normalize_numeric_references(text: str) -> str:
    """Shorten numeric references of eight or more digits, even if they're escaped twice.

    Python reads at most 4,300 digits.
    """
    return _LONG_REFERENCE.sub(_normalize_numeric_reference, text) if "#" in text else text


def _normalize_numeric_reference(match: re.Match[str]) -> str:
    digits = (match[2] or match[3]).lstrip("0") or "0"
    return f"&{match[1]}#{'x' if match[3] else ''}{digits};" if len(digits) <= 7 else "\ufffd"


_UNSAFE_CHARACTERS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffc\ufffe\uffff\U000e0000\U000e0001]"
)
# Joiners are significant between letters of Arabic, Persian, and Indic scripts, and in emoji sequences.
_JOINING_SCRIPTS = "\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u17ff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefe"
_EMOJI = "\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff"
_STRAY_JOINER = re.compile(
    f"(?<![{_JOINING_SCRIPTS}])\u200c|\u200c(?![{_JOINING_SCRIPTS}])"
    f"|(?<![{_JOINING_SCRIPTS}{_EMOJI}])\u200d|\u200d(?![{_JOINING_SCRIPTS}{_EMOJI}])"
)
# After a black flag, tag characters spell the flags of Scotland or Texas. Elsewhere, they hide text.
_TAG_CHARACTERS = re.compile("(\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f)|[\U000e0020-\U000e007f]")
_STACKED_ACCENTS = re.compile("([\u0300-\u036f]{4})[\u0300-\u036f]+")  # enough to cover other lines


def normalize_text(text: str) -> str:
    """Normalize a text without markup: NFC, single spaces, no control, zero-width, or bidi characters.

    Both joiners are kept between letters of joining scripts, and ZWJ also within emoji sequences.
    """
    if text.isascii():
        return " ".join(_UNSAFE_CHARACTERS.sub("", text).split())
    text = _UNSAFE_CHARACTERS.sub("", text)
    text = _TAG_CHARACTERS.sub(lambda match: match[1] or "", text)
    text = _STRAY_JOINER.sub("", text)
    return " ".join(unicodedata.normalize("NFC", _STACKED_ACCENTS.sub(r"\1", text)).split())


_SYNDICATION_FOOTER = re.compile(
    r"\s*(?:The post|L’article|Der Beitrag|La entrada|O post)\s.{1,400}?\s"
    r"(?:appeared first on|est apparu en premier sur|erschien zuerst auf|se publicó primero en|apareceu primeiro em)"
    r"\b.{0,120}$|\s*This is a post from\s.{1,80}?\sRead the original post:.{0,400}$"
)
_READ_MORE_WORDS = (
    r"(?:continue|keep)\s+reading|read\s+(?:more|the\s+(?:full|whole|rest|entire)\s+\w+|full\s+\w+|on)|"
    r"(?:click|tap)\s+here\s+(?:to\s+read|for)\s+more|view\s+article|full\s+story"
)
_READ_MORE_LINK = re.compile(
    rf"(?:^|(?<=[.!?…\])”\"]))\s*(?:\[\s*)?(?:{_READ_MORE_WORDS})\b[^.!?]{{0,120}}?[.…→»›>\])\s]*$"  # noqa: RUF001  the arrows publishers use
    rf"|\s+(?:{_READ_MORE_WORDS})\s*(?:\.\.\.|[…→»›>\])]+)\s*$",  # noqa: RUF001  as above
    re.IGNORECASE,
)
_POINTER = re.compile(
    r"(?:^|(?<=[.!?…]))\s*For\s+(?:more|further)\s+(?:information|details),?\s+(?:please\s+)?(?:visit|see|go\s+to)\s+"
    r"(?:https?://|www\.)\S{1,300}\s*$",
    re.IGNORECASE,
)
# Longer than any pattern matches. On a whole text, the patterns would take quadratic time.
_MAX_FOOTER_CHARACTERS = 700
_MAX_FOOTERS = 10
_CUT_MARKUP = re.compile(r"\[\s*(?:…|\.\.\.|&(?:amp;)?(?:hellip|#8230|#x2026);)\s*\]", re.IGNORECASE)
_BRACKETED_ELLIPSIS = re.compile(r"\s*(?:\[\s*(?:…|\.\.\.|&hellip;)\s*\]|\(\s*(?:…|\.\.\.)\s*\))\s*$")


def strip_boilerplate(text: str) -> str:
    """Remove boilerplate from the end of a summary.

    Examples are "The post X appeared first on Y.", "Continue reading", "Read more", "For more
    information, visit" with a URL, and "[...]", which becomes "…" if it cuts off a sentence.
    """
    for _ in range(_MAX_FOOTERS):
        before = text
        for footer in (_SYNDICATION_FOOTER, _READ_MORE_LINK, _POINTER):
            if match := footer.search(text, max(0, len(text) - _MAX_FOOTER_CHARACTERS)):
                text = text[: match.start()]
        text = text.rstrip()
        if match := _BRACKETED_ELLIPSIS.search(text, max(0, len(text) - _MAX_FOOTER_CHARACTERS)):
            whole, text = text, text[: match.start()]
            head = text.rstrip(" .…")
            if head and not whole.startswith(".", len(head)):
                text = f"{head}…"
        if text == before:
            break
    return text


def clean_title(markup: str) -> str:
    """Return a clean title of at most 300 characters.

    A longer one is cut between words and ends with "…".
    """
    return _truncate(html_to_text(markup), MAX_TITLE_CHARACTERS)


def clean_summary(markup: str) -> str:
    """Return a clean summary of at most 1,000 characters, without boilerplate.

    A longer one is cut at the end of a sentence.
    """
    text = strip_boilerplate(html_to_text(markup))
    if len(text) <= MAX_SUMMARY_CHARACTERS:
        return text
    summary = ""
    for sentence in split_sentences(text[: MAX_SUMMARY_CHARACTERS + 1]):
        longer = f"{summary} {sentence}".lstrip()
        if len(longer) >= MAX_SUMMARY_CHARACTERS:
            break
        summary = longer
    return summary if len(summary) > MAX_SUMMARY_CHARACTERS // 3 else _truncate(text, MAX_SUMMARY_CHARACTERS)


def is_cut_off(markup: str) -> bool:
    """Return True if a text ends with "[…]", like an automatic excerpt, or is too long for a summary."""
    if _CUT_MARKUP.search(markup, max(0, len(markup) - _MAX_FOOTER_CHARACTERS)):
        return True
    return len(markup) > MAX_SUMMARY_CHARACTERS and len(html_to_text(markup)) > MAX_SUMMARY_CHARACTERS


def clean_name(markup: str) -> str:
    """Return a clean name, place, or category of at most 200 characters."""
    return _truncate(html_to_text(markup), MAX_NAME_CHARACTERS)


def shorten_text(text: str, max_words: int) -> str:
    """Return as many whole sentences from the start of a text as fit in `max_words` words.

    If the first sentence doesn't fit, it's cut between words and ends with "…".
    """
    if len(text.split()) <= max_words:
        return text
    sentences: list[str] = []
    words_left = max_words
    for sentence in split_sentences(text):
        words_left -= len(sentence.split())
        if words_left < 0:
            break
        sentences.append(sentence)
    if sentences:
        return " ".join(sentences)
    return " ".join(text.split()[:max_words]).rstrip(",;:–—-.") + "…"  # noqa: RUF001  dashes of every width


# A match starts only after another character, so that a run of a hundred thousand periods is scanned once.
_SENTENCE_END = re.compile(r"(?<![.!?…。！？؟۔।])[.!?…。！？؟۔।]+[\"”’»')\]]*(?=\s|(?<=[。！？]))")  # noqa: RUF001  full stops of many scripts
_NEXT_CHARACTER = re.compile("[\"“‘«'(\\[ ]{0,50}(.)")  # noqa: RUF001  the quotation marks and dashes that publishers use
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|Sen|Rep|Gov|Gen|Lt|Col|Sgt|Capt|Cmdr|Adm|Maj|Det|Rev|Hon|St|Mt|Ft|Jr|Sr|vs|"
    r"No|Nos|Inc|Ltd|Corp|Co|Bros|Dept|Est|approx|ca|cf|Fig|Art|Sec|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|"
    r"Mon|Tue|Wed|Thu|Fri|e\.g|i\.e|a\.m|p\.m|Ph\.D|U\.S|U\.K|U\.N|E\.U|D\.C|[A-Z]\.[A-Z]))\.$"
)


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a clean text. Common English abbreviations don't end a sentence."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        follows = _NEXT_CHARACTER.match(text, match.end())
        near = max(start, match.start() - 12)
        if follows and follows[1].islower():
            continue
        if _ABBREVIATION.search(text, near, match.start() + 1):
            continue
        if sentence := text[start : match.end()].strip():
            yield sentence
        start = match.end()
    if remainder := text[start:].strip():
        yield remainder


_MAIL_ADDRESS = re.compile(
    r"(?:mailto:)?[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", re.IGNORECASE
)


def remove_email_addresses(text: str) -> str:
    """Remove email addresses from a text, and collapse its whitespace."""
    return " ".join(_MAIL_ADDRESS.sub(" ", text).split())


_BYLINE_PREFIX = re.compile(r"^(?:by|von|par|por|di)\s+(?=\w)", re.IGNORECASE)
_GENERIC_AUTHOR = re.compile("admin|administrator|unknown|none|null|author|editor|webmaster|staff|noreply")


def clean_author(text: str) -> str | None:
    """Return the name in an author field without its email address, or None if there's no name.

    "jane@example.org (Jane Roe)" and "Jane Roe <jane@example.org>" both give "Jane Roe".
    """
    text = unescape_html(text[:10_000]).replace("<", " <")
    name = _MAIL_ADDRESS.sub(" ", text[:2_000])
    name = clean_name(re.sub(r"<\s*>|\(\s*\)|\[\s*\]", " ", name))
    name = name.strip(" ,;:|<>-")
    if name.startswith("(") and name.endswith(")"):
        name = name[1:-1].strip()
    name = _BYLINE_PREFIX.sub("", name)
    is_address = "://" in name or not any(map(str.isalpha, name))
    return None if is_address or _GENERIC_AUTHOR.fullmatch(name.lower()) else name


_CREDIT_LINE = re.compile(
    r"(?:^|(?<=[.!?”\"…)\]])\s*)(?:Sources?|Via|Originally (?:published|posted) (?:by|on|at))\s*[:–—]\s*"  # noqa: RUF001  en dash
    r"(?P<who>[^\s.:;!?][^:;!?]{0,98}?)\.?$",
    re.IGNORECASE,
)


_NON_CREDIT = re.compile(r"://|\b(?:getty|shutterstock|istock|alamy|adobe stock|unsplash|pixabay)\b", re.IGNORECASE)


def find_source_credit(text: str) -> str | None:
    """Return the source credited in a text's last line, or None.

    "Source: INTERPOL" gives "INTERPOL".
    """
    match = _CREDIT_LINE.search(text.strip()[-160:])
    who = match["who"] if match else ""
    if len(who.split()) > 10 or _NON_CREDIT.search(who):
        return None
    return who.strip(" .,–—-") or None  # noqa: RUF001  dashes of every width


def _truncate(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    head = text[: max_characters - 1]
    if " " in head[max_characters // 2 :]:
        head = head[: head.rindex(" ")]
    return head.rstrip(" ,;:–—-\u200d\u200c") + "…"  # noqa: RUF001  dashes of every width

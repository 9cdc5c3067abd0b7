"""Documents with a missing or wrong encoding, and documents embedded in another kind."""

from datetime import UTC, datetime

import pytest

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, ParseError
from digest.collect.parsers import parse_document
from digest.collect.parsers.markup.charset import decode_document_text
from tests.moments import AFTER_RELEASE as NOW

TEXTS = {
    "ja": "台風の接近に伴い、港の当局は来週の月曜日まで全ての船の出港を停止すると発表した。救助隊は沿岸の村で住民の避難を支援している。",
    "ko": "태풍이 접근함에 따라 항만 당국은 다음 주 월요일까지 모든 선박의 출항을 중단한다고 발표했다. 구조대는 주민 대피를 돕고 있다.",
    "zh": "随着台风的临近，港口当局宣布在下周一之前停止所有船只出港。救援队正在沿海村庄协助居民撤离。",  # noqa: RUF001
    "zh-TW": "隨著颱風的接近，港口當局宣布在下週一之前停止所有船隻出港。救援隊正在沿海村莊協助居民撤離。",  # noqa: RUF001
    "ru": "В связи с приближением шторма портовые власти объявили о приостановке выхода всех судов до понедельника.",  # noqa: RUF001
    "uk": "Портова влада оголосила про зупинення виходу всіх суден. Рятувальники допомагають мешканцям сіл.",
    "bg": "Поради наближаващата буря пристанищните власти обявиха спиране на излизането на всички кораби.",
    "de": "Die Hafenbehörde erklärt das Auslaufen für unzulässig. Rettungskräfte prüfen Küstenstraßen.",
    "fr": "En raison de l’approche de la tempête, les élèves ont été évacués près du château.",
    "es": "¿Señales de tormenta? La niña está aquí. “Más ayuda” en el año nuevo.",
}


@pytest.mark.parametrize(
    ("language", "codec"),
    [
        ("ja", "cp932"),
        ("ja", "euc_jp"),
        ("ja", "iso2022_jp"),
        ("ko", "euc_kr"),
        ("ko", "cp949"),
        ("zh", "gb2312"),
        ("zh", "gb18030"),
        ("zh-TW", "big5"),
        ("ru", "cp1251"),
        ("ru", "koi8_r"),
        ("ru", "iso8859_5"),
        ("uk", "cp1251"),
        ("uk", "koi8_u"),
        ("bg", "cp1251"),
        ("de", "cp1252"),
        ("fr", "cp1252"),
        ("es", "cp1252"),
    ],
)
def test_an_undeclared_charset_is_told_by_its_letters(language: str, codec: str) -> None:
    text = TEXTS[language]
    feed = f"<rss version='2.0'><channel><title>Port News</title><item><title>News</title><description>{text}</description></item>"
    assert decode_document_text(feed.encode(codec)) == feed
    page = f"<html><head><title>{text[:20]}</title></head><body><p>Port</p><p class='lead'>{text}</p></body></html>"
    assert decode_document_text(page.encode(codec)) == page
    wrong = f"<?xml version='1.0' encoding='utf-8'?>{feed}"
    assert codec == "iso2022_jp" or decode_document_text(wrong.encode(codec), charset="utf-8") == wrong


def test_utf_8_with_a_few_bad_bytes_stays_utf_8() -> None:
    body = f"<title>{TEXTS['ru']}</title><p>".encode() + b"caf\xe9 \x93quoted\x94 \xe9\xe8\xea\xe0\xe2\xf4\xf6\xfc</p>"
    assert decode_document_text(body) == f"<title>{TEXTS['ru']}</title><p>café “quoted” éèêàâôöü</p>"


def test_a_declared_charset_is_believed_without_asking() -> None:
    body = "<?xml version='1.0' encoding='koi8-r'?><rss>Порт</rss>".encode("koi8_r")
    assert "Порт" in decode_document_text(body)


CDF = """<?xml version="1.0"?><!DOCTYPE Channel SYSTEM "http://www.w3c.org/Channel.dtd">
<CHANNEL HREF="https://port.example.org/"><TITLE>Port news</TITLE>{items}</CHANNEL>"""
CDF_ITEM = """<ITEM HREF="https://port.example.org/{n}.html" LASTMOD="2026-11-19T10:00"><TITLE>The harbour opens {n}</TITLE>
<ABSTRACT>Ships may leave the port again from Monday on.</ABSTRACT></ITEM>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Port news</title><entry><id>urn:1</id><title>The harbour opens</title>
<link href="/1"/><updated>2026-11-19T10:00:00Z</updated></entry></feed>"""


def read(document: str) -> ParsedDocument:
    return parse_document(document.encode(), url="https://port.example.org/feed", now=NOW)


def test_a_channel_definition_is_read_with_all_its_items() -> None:
    found = read(CDF.format(items="".join(CDF_ITEM.format(n=n) for n in range(400))))
    assert (found.kind, found.title, len(found.items)) == (DocumentKind.RSS, "Port news", 400)
    first = found.items[0]
    assert (first.title, first.url) == ("The harbour opens 0", "https://port.example.org/0.html")
    assert first.summary == "Ships may leave the port again from Monday on."
    assert first.published == datetime(2026, 11, 19, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "page",
    [
        f"<!DOCTYPE html><html><head><title>Port</title></head><body>{ATOM}</body></html>",
        f"<html><body><!-- a proxy's --><pre>\n{ATOM}\n</pre></body></html>",
    ],
)
def test_an_atom_feed_inside_a_page_is_read_as_the_feed(page: str) -> None:
    found = read(page)
    assert (found.kind, found.title) == (DocumentKind.ATOM, "Port news")
    assert [item.url for item in found.items] == ["https://port.example.org/1"]


@pytest.mark.parametrize("page", [f"<html><!-- {ATOM} --><p>x</p></html>", f"<html><script>'{ATOM}'</script></html>"])
def test_a_feed_that_a_page_hides_is_none(page: str) -> None:
    with pytest.raises(ParseError):
        read(page)

"""Lists in ZIP files and spreadsheets, opened in the sandbox, and fifty hostile files, each with an error."""

import codecs
import csv
import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from digest.app.subscribers import upload_files
from digest.app.subscribers.upload_files import prepare_readable_list
from digest.collect.sandbox.client import SandboxError
from subscribers.transfer import packed_lists
from subscribers.transfer.list_file import FileSurvey, ListFileError, read_rows, survey_file
from subscribers.transfer.rows import parse_row
from tests.moments import AFTER_RELEASE as NOW
from tests.packed_lists import sheet_xml, workbook_files, write_workbook, zip_files

ROW = "ada@example.org"
CSV = f"email,confirmed_at\n{ROW},2024-03-02\n"


def open_list(folder: Path, content: bytes, name: str = "list.zip") -> tuple[FileSurvey, list[list[str]]]:
    """Look through a file as an import does; return its rows too."""
    file = folder / name
    file.write_bytes(content)
    with prepare_readable_list(file, folder / "uploads") as table:
        survey = survey_file(table)
        return survey, [fields for _, fields in read_rows(survey)]


def statuses(survey: FileSurvey, rows: list[list[str]]) -> dict[str, str]:
    """Return the status of each row's person, by the name of their mailbox."""
    read = [parse_row(survey.layout, fields, number, now=NOW) for number, fields in enumerate(rows, start=2)]
    return {row.address.local: str(row.status) for row in read}


def test_mailchimps_zip_file_is_one_list_and_each_file_in_it_says_what_its_rows_are(tmp_path: Path) -> None:
    common = "Email Address,First Name,OPTIN_TIME,CONFIRM_TIME"
    time = "2024-03-02 10:00:00"
    content = zip_files(
        {
            "subscribed_email_audience_export_1a.csv": f"{common},LEID\nin@example.org,In,{time},{time},1\n",
            "unsubscribed_email_audience_export_1a.csv": f"{common},UNSUB_TIME\nout@example.org,O,{time},{time},{time}\n",
            "cleaned_email_audience_export_1a.csv": f"{common},CLEAN_TIME\nbad@example.org,B,{time},{time},\n",
            "nonsubscribed_email_audience_export_1a.csv": f"{common}\nnever@example.org,N,{time},{time}\n",
            "__MACOSX/._subscribed.csv": "email\nmac@example.org\n",
        }
    )
    survey, rows = open_list(tmp_path, content)
    assert survey.layout.origin == "Mailchimp"
    assert statuses(survey, rows) == {"in": "person", "out": "left", "bad": "bounced", "never": "unconfirmed"}
    assert parse_row(survey.layout, rows[0], 2, now=NOW).confirmed_at is not None


def test_the_topmost_lists_of_a_zip_file_count_not_the_reports_below_them(tmp_path: Path) -> None:
    content = zip_files(
        {
            "export/posts.csv": "post_id,title\n1,Hello\n",
            "export/email_list.csv": f"email,active_subscription\n{ROW},false\n",
            "export/posts/1.opens.csv": "post_id,email\n1,gone@example.org\n",
        }
    )
    survey, rows = open_list(tmp_path, content)
    assert (survey.layout.origin, [row[0] for row in rows]) == ("Substack", [ROW])


def test_a_zip_file_of_a_single_status_keeps_it(tmp_path: Path) -> None:
    survey, rows = open_list(tmp_path, zip_files({"unsubscribed.csv": f"email\n{ROW}\n"}))
    assert statuses(survey, rows) == {"ada": "left"}


def test_mailpoets_quotes_come_through_a_zip_file(tmp_path: Path) -> None:
    text = '"Email","First name","Confirmation time"\n"ada@example.org","say \\"hi, you\\" C:\\\\","2020-01-01"\n'
    survey, rows = open_list(tmp_path, zip_files({"export.csv": text}))
    assert (survey.layout.origin, rows) == ("MailPoet", [[ROW, 'say "hi, you" C:\\', "2020-01-01"]])


def test_a_workbooks_first_visible_sheet_with_addresses_is_the_list(tmp_path: Path) -> None:
    sheets: dict[str, list[list[object]]] = {
        "Old": [["email"], ["old@example.org"]],
        "Notes": [["Exported on", "2024"]],
        "Kontakte": [["Nr", "Mitglied", "Aktiv"], [1, ROW, True], [2.0, "bo@example.org", False], ["", "", ""]],
    }
    survey, rows = open_list(tmp_path, write_workbook(sheets, hidden=["Old"]), "list.xlsx")
    assert (survey.layout.headings, rows) == (
        ("Nr", "Mitglied", "Aktiv"),
        [["1", ROW, "true"], ["2", "bo@example.org", "false"]],
    )


def test_a_times_cell_is_read_as_a_time(tmp_path: Path) -> None:
    styles = (
        '<?xml version="1.0"?><styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>'
    )
    sheet = sheet_xml([["email", "confirmed at"], [ROW]]).replace(
        "</row></sheetData>", '<c r="B2" s="1"><v>45353.5</v></c></row></sheetData>'
    )
    files = workbook_files({"A": sheet})
    relation = '<Relationship Id="r9" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/>'
    rels = files["xl/_rels/workbook.xml.rels"].replace("</Relationships>", f"{relation}</Relationships>")
    _, rows = open_list(tmp_path, zip_files(files | {"xl/styles.xml": styles, "xl/_rels/workbook.xml.rels": rels}))
    assert rows == [[ROW, "2024-03-02 12:00:00"]]


def test_a_long_table_comes_in_pieces_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_lists, "PIECE_BYTES", 1_500_000)
    text = "email,note\n" + "".join(f"p{n}@example.org,{'x' * 100}\n" for n in range(40_000))
    body = zip_files({"list.csv": text})
    pieces: list[bytes] = []
    more = True
    while more:
        piece, more = packed_lists.unpack_list(body, start=len(b"".join(pieces)))
        pieces.append(piece)
    assert len(pieces) > 2
    assert list(csv.reader(io.StringIO(b"".join(pieces).decode()))) == list(csv.reader(io.StringIO(text)))


def test_a_table_beyond_the_limit_is_refused_by_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    body = zip_files({"list.csv": "email,note\n" + "".join(f"p{n}@example.org,\n" for n in range(2_000))})
    monkeypatch.setattr(packed_lists, "MAX_UNPACKED_BYTES", 35_500)
    with pytest.raises(ListFileError, match="unpacks to more than"):
        packed_lists.unpack_list(body, start=0)


def _with_bytes(content: bytes, place: int, changed: bytes) -> bytes:
    return content[:place] + changed + content[place + len(changed) :]


def _declare(content: bytes, offset: int, value: bytes) -> bytes:
    """Change a field of the first entry in a ZIP file's directory (APPNOTE 4.3.12)."""
    return _with_bytes(content, content.index(b"PK\x01\x02") + offset, value)


def _sheet(xml: str) -> bytes:
    return zip_files(workbook_files({"A": xml}))


GOOD_ZIP = zip_files({"list.csv": CSV})
GOOD_BOOK = write_workbook({"A": [["email"], [ROW]]})
BOMB = zip_files({"list.csv": b"email\n" + b"\0" * 5_000_000})
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
TWO_CELLS = (
    '<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    '<row r="1"><c r="A1" t="inlineStr"><is><t>email</t></is></c></row>'
    '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>ada@example.org</t></is></c></row></sheetData></worksheet>'
)
NO_ADDRESS = "has a column of email addresses|contains email addresses"
DAMAGED = "damaged"
UNREADABLE = "can't be read"

HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "nothing": (b"", "is empty"),
    "blanks": (b" \r\n\t\n", "is empty"),
    "only a mark": (codecs.BOM_UTF8, NO_ADDRESS),
    "no address": (b"name,city\nAda,Rome\n", NO_ADDRESS),
    "a sentence": (b"To whom it may concern: the list follows.\n", NO_ADDRESS),
    "a page": (b"<html><body><a href='mailto:ada@example.org'>Ada</a></body></html>", NO_ADDRESS),
    "a vCard": (b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Ada\r\nEND:VCARD\r\n", NO_ADDRESS),
    "JSON": (b'{"people": [{"name": "Ada"}]}', NO_ADDRESS),
    "open quotes": (b'email,note\nada@example.org,"open\n', "unclosed quotation mark"),
    "open quotes in the heading": (b'"email,note\nada@example.org,x\n', "unclosed quotation mark"),
    "a long field": (b"email,note\nada@example.org," + b"x" * 200_000 + b"\n", "a field of more than"),
    "a long line": (b"email,note\nada@example.org," + b"x," * 700_000, "more than 1,000,000 characters"),
    "a line without end": (b"x" * 3_000_000, "more than 1,000,000 characters"),
    "half of UTF-16": (b"\xff\xfee\0m\0a\0i\0l", "UTF-16"),
    "broken UTF-16": (b"\xff\xfeabc", "UTF-16"),
    "broken UTF-32": (codecs.BOM_UTF32_LE + b"\xff\xff\xff\xff", "UTF-32"),
    "null bytes": (b"\0" * 4096, NO_ADDRESS),
    "noise": (bytes(range(256)) * 64, NO_ADDRESS),
    "gzip": (gzip.compress(CSV.encode(), mtime=0), "a gzip archive"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + b"\0" * 40, "7-Zip"),
    "RAR": (b"Rar!\x1a\x07\x01\0" + b"\0" * 40, "RAR"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "an image"),
    "JPEG": (b"\xff\xd8\xff\xe0" + b"\0" * 40, "an image"),
    "GIF": (b"GIF89a" + b"\0" * 40, "an image"),
    "a database": (b"SQLite format 3\0" + b"\0" * 84, "a database"),
    "a Linux program": (b"\x7fELF\x02\x01\x01" + b"\0" * 40, "a program"),
    "a Windows program": (b"MZ\x90\0" + b"\0" * 60, "a program"),
    "half a ZIP file": (GOOD_ZIP[: len(GOOD_ZIP) // 2], DAMAGED),
    "only the start of a ZIP file": (b"PK\x03\x04", DAMAGED),
    "a ZIP file with a wrong checksum": (_declare(GOOD_ZIP, 16, b"\0\0\0\0"), DAMAGED),
    "a ZIP file with noise in its data": (_with_bytes(GOOD_ZIP, 40, b"\xff" * 20), DAMAGED),
    "a ZIP file with an offset beyond its end": (_declare(GOOD_ZIP, 42, struct.pack("<I", 1 << 30)), DAMAGED),
    "a ZIP file that declares 4 GB": (_declare(GOOD_ZIP, 24, struct.pack("<I", 4_000_000_000)), "more than 512 MB"),
    "a ZIP file that declares too little": (_declare(GOOD_ZIP, 24, struct.pack("<I", 3)), DAMAGED),
    "a password": (_declare(GOOD_ZIP, 8, b"\x01\0"), "password-protected"),
    "an unknown compression": (_declare(GOOD_ZIP, 10, struct.pack("<H", 97)), "unsupported compression"),
    "two thousand files": (lambda: zip_files({f"{n}.csv": "email\n" for n in range(2000)}), "more than 1,000 files"),
    "a bomb of five megabytes": (BOMB, NO_ADDRESS),
    "a bomb of six hundred": (
        lambda: zip_files({f"{n}.csv": b"\0" * 60_000_000 for n in range(10)}),
        "more than 512 MB",
    ),
    "a ZIP file in a ZIP file": (zip_files({"inner.zip": GOOD_ZIP}), NO_ADDRESS),
    "an empty ZIP file": (b"PK\x05\x06" + b"\0" * 18, NO_ADDRESS),
    "a ZIP file without lists": (zip_files({"readme.txt": "hello", "logo.png": b"\x89PNG"}), NO_ADDRESS),
    "names that climb": (zip_files({"../../etc/list.csv": "name\nAda\n"}), NO_ADDRESS),
    "a Word document": (zip_files({"[Content_Types].xml": "<x/>", "word/document.xml": "<x/>"}), NO_ADDRESS),
    "a workbook without sheets": (zip_files(workbook_files({})), NO_ADDRESS),
    "a workbook without addresses": (write_workbook({"A": [["name"], ["Ada"]]}), NO_ADDRESS),
    "a workbook whose only list is hidden": (
        write_workbook({"A": [["email"], [ROW]], "B": [["x"]]}, hidden=["A"]),
        NO_ADDRESS,
    ),
    "a workbook of broken XML": (_sheet("<worksheet><sheetData><row><c></row>"), UNREADABLE),
    "a billion laughs": (
        _sheet(
            f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><worksheet><sheetData><row r="1">'
            '<c r="A1" t="inlineStr"><is><t>&l11;</t></is></c></row></sheetData></worksheet>'
        ),
        UNREADABLE,
    ),
    "two cells at the ends of a sheet": (_sheet(TWO_CELLS), "too much time or memory"),
    "half a workbook": (GOOD_BOOK[: len(GOOD_BOOK) - 200], DAMAGED),
    "an old document": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2000, UNREADABLE),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_a_sentence(tmp_path: Path, name: str) -> None:
    content, sentence = HOSTILE[name]
    with pytest.raises(ListFileError, match=sentence) as caught:
        open_list(tmp_path, content() if callable(content) else content)
    text = str(caught.value)
    assert text.endswith(".")
    assert "example.org" not in text
    assert not list((tmp_path / "uploads").glob("*"))


def test_there_are_fifty_hostile_files() -> None:
    assert len(HOSTILE) >= 50


@pytest.mark.parametrize("name", ["two cells at the ends of a sheet", "a billion laughs", "a bomb of five megabytes"])
def test_a_good_list_after_a_hostile_one_is_read(tmp_path: Path, name: str) -> None:
    """A child that was ended takes nothing with it."""
    content = HOSTILE[name][0]
    assert isinstance(content, bytes)
    with pytest.raises(ListFileError):
        open_list(tmp_path, content)
    assert open_list(tmp_path, GOOD_BOOK)[1] == [[ROW]]


def test_a_packed_file_beyond_what_the_sandbox_takes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.zip"
    with file.open("wb") as large:
        large.write(b"PK\x03\x04")
        large.truncate(95_000_000)
    with pytest.raises(ListFileError, match="over the limit of 90 MB"), prepare_readable_list(file, tmp_path):
        pass


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="No such file"), prepare_readable_list(tmp_path / "gone.zip", tmp_path):
        pass


def test_a_sandbox_that_fails_is_named_without_quoting_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_body: bytes) -> None:
        raise SandboxError(f"couldn't read the document: {ROW}")

    monkeypatch.setattr(upload_files, "unpack_list_in_child", fail)
    with pytest.raises(ListFileError, match="process that unpacks files failed") as refusal:
        open_list(tmp_path, zip_files({"list.csv": CSV}))
    assert ROW not in str(refusal.value)

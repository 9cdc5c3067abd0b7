import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subscribers.import_names import PLAIN_LIST
from subscribers.transfer.list_file import ListFileError, read_headings, read_rows, survey_file


def _file(folder: Path, content: bytes | str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("encoding", "seen"),
    [
        ("utf-8", "utf-8-sig"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("latin-1", "latin-1"),
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_of_any_make_give_the_same_rows(
    tmp_path: Path, encoding: str, seen: str, separator: str, end: str
) -> None:
    text = end.join(
        [f"email{separator}name", f"ada@example.org{separator}Zoë", f'bo@example.org{separator}"B{end}o"', ""]
    )
    survey = survey_file(_file(tmp_path, text.encode(encoding)))
    assert (survey.encoding, survey.separator, survey.rows) == (seen, separator, 2)
    assert list(read_rows(survey)) == [(2, ["ada@example.org", "Zoë"]), (3, ["bo@example.org", f"B{end}o"])]
    assert read_headings(survey) == ["email", "name"]
    assert bool(survey.warnings) == (encoding == "latin-1")


def test_a_bare_list_has_no_heading_to_lose(tmp_path: Path) -> None:
    survey = survey_file(_file(tmp_path, "\nada@example.org\n\nbo@example.org"))
    assert (survey.layout.origin, survey.rows) == (PLAIN_LIST, 4)
    assert [number for number, fields in read_rows(survey) if any(fields)] == [2, 4]
    assert read_headings(survey) == []


def test_a_first_row_with_an_address_is_a_row(tmp_path: Path) -> None:
    survey = survey_file(_file(tmp_path, "Ada;ada@example.org\nBo;bo@example.org\n"))
    assert (survey.layout.email, survey.rows, survey.layout.headings) == (1, 2, ())
    assert survey.layout.numbered_columns == ["Column 1", "Column 2"]


@pytest.mark.parametrize(
    "heading",
    [
        *(
            "Email Address",
            "E-Mail",
            "E-Mail-Adresse",
            "Adresse e-mail",
            "Courriel",
            "Correo electrónico",
            "Subscriber",
        ),
        *("E-mail 1 - Value", "Contact email", "Work Email", "mail", "Primary Email", "Person", "Wer?", "メール"),
    ],
)
def test_any_heading_names_the_column_of_addresses(tmp_path: Path, heading: str) -> None:
    text = f"Name,{heading},Address,Invited by\nAda,ada@example.org,1 Main St,bo@example.org\nBo,bo@example.org,2 Main St,\n"
    assert survey_file(_file(tmp_path, text)).layout.email == 1


def test_a_column_that_only_its_cells_tell_is_named(tmp_path: Path) -> None:
    survey = survey_file(_file(tmp_path, "Name,Wer\nAda,ada@example.org\n"))
    assert survey.warnings == ("The addresses are in the column “Wer.” Check that it's the right one.",)
    assert survey_file(_file(tmp_path, "Name,Courriel\nAda,ada@example.org\n")).warnings == ()


def test_a_heading_counts_only_if_its_column_has_addresses(tmp_path: Path) -> None:
    survey = survey_file(_file(tmp_path, "Address,Contact person\n1 Main St,ada@example.org\n"))
    assert survey.layout.email == 1
    assert survey_file(_file(tmp_path, "name,email\n")).layout.email == 1


def test_rows_are_numbered_as_a_spreadsheet_does(tmp_path: Path) -> None:
    survey = survey_file(_file(tmp_path, 'email,note\n\na@example.org,"x\ny"\nb@example.org,\n'))
    assert list(read_rows(survey)) == [(2, []), (3, ["a@example.org", "x\ny"]), (4, ["b@example.org", ""])]


def test_mailpoets_backslashes_do_not_shift_columns(tmp_path: Path) -> None:
    text = '"Email","First name","Confirmation time"\n"a@example.org","say \\"hi, you\\"","2020-01-01"\n'
    assert [f for _, f in read_rows(survey_file(_file(tmp_path, text)))] == [
        ["a@example.org", 'say "hi, you"', "2020-01-01"]
    ]


def test_a_hundred_columns_and_null_bytes_are_no_trouble(tmp_path: Path) -> None:
    wide = ",".join(["email", *(f"c{n}" for n in range(99))])
    survey = survey_file(_file(tmp_path, f"{wide}\na@example.org,\x00{',' * 98}\n"))
    ((_, fields),) = read_rows(survey)
    assert (len(fields), fields[1]) == (100, "\x00")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\n\n \n", "empty"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (gzip.compress(b"email\n", mtime=0), "a gzip archive"),
        (b"name,city\nAda,Rome\n", "No column contains email addresses"),
        (
            b'email,note\na@example.org,"open\nb@example.org,\n',
            "Row 2 or an earlier row has an unclosed quotation mark",
        ),
        (b"email,note\na@example.org," + b"x" * 200_000 + b"\n", "Row 2 has a field of more than 131,072"),
        (b"email,note\na@example.org," + b"x" * 1_200_000, "more than 1,000,000 characters"),
        (b"\xff\xfeabc", "UTF-16 but is truncated"),
    ],
)
def test_what_is_no_list_is_refused_before_anything_is_done(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(ListFileError, match=says) as caught:
        survey_file(_file(tmp_path, content))
    assert "example.org" not in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="No such file"):
        survey_file(tmp_path / "gone.csv")


def test_a_file_that_changes_while_it_is_read_does_not_count(tmp_path: Path) -> None:
    path = _file(tmp_path, "email\na@example.org\n")
    rows = read_rows(survey_file(path))
    next(rows)
    path.write_text("email\na@example.org\nb@example.org\n")
    with pytest.raises(ListFileError, match="changed"):
        list(rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_are_a_list_or_refused(tmp_path: Path, content: bytes) -> None:
    try:
        survey = survey_file(_file(tmp_path, b"email,x\n" + content))
        assert sum(1 for _ in read_rows(survey)) == survey.rows
    except ListFileError:
        pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=2, max_size=4), max_size=6))
def test_rows_come_back_as_a_csv_writer_wrote_them(tmp_path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["email", "x"], *rows])
    survey = survey_file(_file(tmp_path, text.getvalue()))
    assert [fields for _, fields in read_rows(survey)] == rows

"""Create lists in ZIP files and workbooks."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>'
)
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS = '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def zip_files(files: Mapping[str, str | bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Put files, by their names, into a ZIP file."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return body.getvalue()


def write_workbook(sheets: Mapping[str, Sequence[Sequence[object]]], *, hidden: Sequence[str] = ()) -> bytes:
    """Write the sheets of an .xlsx file: numbers as numbers, truth values as such, all else as text."""
    return zip_files(workbook_files({name: sheet_xml(rows) for name, rows in sheets.items()}, hidden=hidden))


def workbook_files(sheets: Mapping[str, str], *, hidden: Sequence[str] = ()) -> dict[str, str]:
    """Name the files of an .xlsx file whose sheets are given as XML."""
    numbers = range(1, len(sheets) + 1)
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" r:id="r{number}"{" state=" + chr(34) + "hidden" + chr(34) if name in hidden else ""}/>'
        for number, name in zip(numbers, sheets, strict=True)
    )
    relations = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in numbers
    )
    top = f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    contents = dict(zip((f"xl/worksheets/sheet{number}.xml" for number in numbers), sheets.values(), strict=True))
    return {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": _RELATIONS.format(top),
        "xl/workbook.xml": f'<?xml version="1.0"?><workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _RELATIONS.format(relations),
        **contents,
    }


def sheet_xml(rows: Sequence[Sequence[object]]) -> str:
    """Write a sheet."""
    lines = "".join(
        f'<row r="{number}">{"".join(_cell(chr(65 + place) + str(number), value) for place, value in enumerate(row))}</row>'
        for number, row in enumerate(rows, start=1)
    )
    return f'<?xml version="1.0"?><worksheet {_MAIN}><sheetData>{lines}</sheetData></worksheet>'


def _cell(place: str, value: object) -> str:
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'

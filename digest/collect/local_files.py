"""Files of this machine, read as sources of their own: feeds and pages that somebody saved."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from digest.collect.fetch.http_response import BodyTooLargeError, ContentEncodingError, decode_body
from digest.collect.parsed_document import DocumentKind, ParseError
from digest.collect.sandbox import documents as sandbox
from digest.collect.source_visit import OPML_MESSAGE, VisitResult
from digest.collect.sources import VisitFailure, VisitSuccess
from digest.store.models import SourceHealth


def list_files(paths: Sequence[Path]) -> list[Path]:
    """List the files that are meant: each file named, and all in the folders named, in a fixed order.

    Hidden files in folders are passed over. Two ways to one file are one.
    """
    files: dict[Path, None] = {}
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            if file == path or not any(part.startswith(".") for part in file.relative_to(path).parts):
                files.setdefault(file.resolve())
    return list(files)


def read_file_source(path: Path, *, max_bytes: int, site: str, now: datetime) -> VisitResult:
    """Read a file as a source; one that ends in .gz is unpacked. What is wrong with it comes back as a value.

    Args:
        path: the file.
        max_bytes: the most bytes that are read, after unpacking.
        site: the publication's own site, where a text without any address is taken to stand.
        now: the moment of the run.
    """
    try:
        reading = sandbox.parse_saved_file(
            _read_bytes(path, max_bytes), file_url=path.resolve().as_uri(), site=site, now=now
        )
    except OSError as error:
        return VisitResult(VisitFailure(SourceHealth.FAILING, f"cannot be read: {error.strerror}"))
    except BodyTooLargeError:
        message = f"over {max_bytes:,} bytes; raise limits.fetch_bytes in digest.toml if it is meant"
        return VisitResult(VisitFailure(SourceHealth.FAILING, message))
    except (ContentEncodingError, ParseError) as error:
        return VisitResult(VisitFailure(SourceHealth.FAILING, str(error)))
    if reading.kind is DocumentKind.OPML:
        return VisitResult(VisitFailure(SourceHealth.FAILING, OPML_MESSAGE))
    return VisitResult(VisitSuccess(reading.kind), reading)


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as stream:
        return decode_body(iter(lambda: stream.read(65_536), b""), "gzip" if path.suffix == ".gz" else "", max_bytes)

"""The fuzzing of `make soak` on a small scale: every parser is included, and reads or rejects its starting documents."""

from contextlib import suppress
from pathlib import Path

from digest.collect.sandbox.child_operations import OPERATIONS
from tests.soak.document_fuzz import list_parsers


def test_each_parser_reads_or_refuses_its_own_seeds(tmp_path: Path) -> None:
    parsers = list_parsers(tmp_path)
    assert len({parser.name for parser in parsers}) == len(parsers)
    reading = OPERATIONS.keys() - {"list open doors", "draw icon"}  # which read no document
    assert {parser.operation for parser in parsers} == {"", *reading}
    for parser in parsers:
        for seed in parser.seeds:
            with suppress(*parser.refusals):
                parser.read(seed)

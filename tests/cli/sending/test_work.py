"""`digest work`: when it can't start. `tests/deliver/send/test_worker_processes.py` tests several workers."""

import pytest
from click.testing import CliRunner

from digest.cli import digest


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(("work",), "Workers need PostgreSQL", marks=pytest.mark.sqlite),
        (
            ("work", "--only", "send,dance"),
            "There's no type of work named 'dance'. Choose from send, notices, collect.",
        ),
    ],
)
@pytest.mark.usefixtures("initialized_home")
def test_a_worker_that_cannot_begin_says_why(words: tuple[str, ...], sentence: str) -> None:
    result = CliRunner().invoke(digest, list(words))
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())

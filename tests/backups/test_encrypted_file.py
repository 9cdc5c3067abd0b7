"""An encrypted file is in age's format, can be read from any position with its passphrase, and is rejected if it was changed."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrage import passphrase as age

from digest.backups.encrypted_file import (
    CHUNK_BYTES,
    DamagedFileError,
    EncryptedReader,
    EncryptedWriter,
    WrongPassphraseError,
)

PASSPHRASE = "tr\u00e8s secret"


def encrypted(body: bytes, step: int = 10_000) -> bytes:
    file = io.BytesIO()
    writer = EncryptedWriter(file, PASSPHRASE)
    for start in range(0, len(body), step):
        writer.write(body[start : start + step])
    writer.close()
    return file.getvalue()


def opened(sealed: bytes) -> io.BufferedReader:
    return io.BufferedReader(EncryptedReader(io.BytesIO(sealed), PASSPHRASE))


BODY = bytes(range(256)) * 1000  # four chunks, the last one in part
SEALED = b""


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, len(BODY)])
def test_age_opens_what_we_write_and_we_do(size: int) -> None:
    sealed = encrypted(BODY[:size])
    assert age.decrypt(sealed, PASSPHRASE) == BODY[:size]
    assert opened(sealed).read() == BODY[:size]


def test_trying_a_passphrase_takes_128_megabytes(shipped_hashing: None) -> None:
    assert encrypted(b"body").split(b"\n")[1].endswith(b" 17"), "2^17 blocks of 1 KiB"


@given(st.integers(0, len(BODY)), st.integers(0, 70_000))
@settings(max_examples=30, deadline=None)
def test_any_part_is_read_by_itself(start: int, length: int) -> None:
    with opened(_sealed_body()) as file:
        file.seek(start)
        assert file.read(length) == BODY[start : start + length]
        assert file.seek(-1, io.SEEK_END) == len(BODY) - 1
        assert file.read() == BODY[-1:]


def _sealed_body() -> bytes:
    global SEALED  # noqa: PLW0603 - made once for all examples
    SEALED = SEALED or encrypted(BODY)
    return SEALED


def test_another_passphrase_opens_nothing() -> None:
    with pytest.raises(WrongPassphraseError):
        EncryptedReader(io.BytesIO(_sealed_body()), PASSPHRASE.upper())


def test_a_file_that_was_cut_or_changed_anywhere_is_refused() -> None:
    sealed = _sealed_body()
    step = len(sealed) // 40
    damaged = [sealed[:at] for at in [*range(0, 220, 11), *range(220, len(sealed), step)]]
    damaged += [
        sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        for at in [*range(0, 220, 3), *range(220, len(sealed), step)]
    ]
    damaged.append(sealed[: len(sealed) - 10_000 - 16] if len(sealed) > 10_016 else b"")
    for changed in damaged:
        with pytest.raises((DamagedFileError, WrongPassphraseError)):
            opened(changed).read()


def test_a_file_that_asks_for_too_much_work_is_refused() -> None:
    greedy = _sealed_body().replace(b" 4\n", b" 30\n", 1)
    with pytest.raises(DamagedFileError, match=r"the scrypt work factor 2\^30 is too high"):
        EncryptedReader(io.BytesIO(greedy), PASSPHRASE)


def test_a_header_is_read_in_one_spelling_alone() -> None:
    sealed = _sealed_body()
    end = sealed.index(b"\n", sealed.index(b"---"))
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    same = alphabet[alphabet.index(sealed[end - 1]) ^ 1]  # differs in a bit that stands for nothing
    with pytest.raises(DamagedFileError):
        EncryptedReader(io.BytesIO(sealed[: end - 1] + bytes([same]) + sealed[end:]), PASSPHRASE)

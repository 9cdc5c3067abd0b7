import hmac
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.address import Address, AddressError, read_address
from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KEY_KINDS, DecryptionError, KeyFileError, KeyRing, SecretKey
from subscribers.crypto.stored_addresses import (
    AdoptedSuppressionKey,
    decrypt_address,
    encrypt_address,
    encrypt_addresses,
    generate_address_salts,
    make_domain_tag,
    make_lookup_hash,
)

KEYS = KeyRing.from_seed(b"vault tests")
LOCAL = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[A-Za-z0-9]{1,8})?", fullmatch=True)
LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(lambda t: "--" not in t)


@given(LOCAL, LABEL, st.integers(1, 2**40))
def test_what_is_encrypted_opens_for_its_own_person_only(local: str, label: str, number: int) -> None:
    address = Address(local, f"{label}.example.org")
    sealed = encrypt_address(KEYS, address, number)
    assert decrypt_address(KEYS, sealed, number) == address.mailbox
    assert address.mailbox.encode() not in sealed[0]
    with pytest.raises(DecryptionError, match=f"person {number + 1}"):
        decrypt_address(KEYS, sealed, number + 1)


def test_a_flipped_bit_does_not_open() -> None:
    ciphertext, key_id = encrypt_address(KEYS, read_address("ada@example.org"), 7)
    for place in range(len(ciphertext)):
        flipped = bytes(b ^ (i == place) for i, b in enumerate(ciphertext))
        with pytest.raises(DecryptionError) as caught:
            decrypt_address(KEYS, (flipped, key_id), 7)
        assert "ada" not in str(caught.value)


def test_the_same_address_is_encrypted_differently_each_time() -> None:
    address = read_address("ada@example.org")
    assert encrypt_address(KEYS, address, 7)[0] != encrypt_address(KEYS, address, 7)[0]


def test_addresses_encrypted_together_share_no_random_bytes_and_open_each_for_its_person() -> None:
    addresses = [Address("ada", f"county{number}.example.org") for number in range(1, 51)]
    ciphertexts, key_id = encrypt_addresses(KEYS, zip(addresses, range(1, 51), strict=True))
    assert len({ciphertext[:12] for ciphertext in ciphertexts}) == 50  # the nonces
    opened = [decrypt_address(KEYS, (sealed, key_id), number) for number, sealed in enumerate(ciphertexts, start=1)]
    assert opened == [address.mailbox for address in addresses]
    salts = generate_address_salts(50)
    assert len(set(salts)) == 50
    assert {len(salt) for salt in salts} == {16}


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=20), st.binary(max_size=200))
def test_a_keyed_hash_is_hmac_sha256(secret: bytes, prefix: bytes, text: bytes) -> None:
    assert keyed_hash(secret, prefix, text) == hmac.digest(secret, prefix + text, "sha256").hex()
    assert keyed_hash(secret, prefix, text) == keyed_hash(secret, prefix, text)


def test_a_successor_seals_and_the_old_key_still_opens() -> None:
    old = encrypt_address(KEYS, read_address("ada@example.org"), 7)
    both = KeyRing([*KEYS.all, SecretKey("vault", 2, b"x" * 32)])
    new = encrypt_address(both, read_address("ada@example.org"), 7)
    assert old[1] != new[1]
    assert decrypt_address(both, old, 7) == decrypt_address(both, new, 7) == "ada@example.org"
    with pytest.raises(KeyFileError, match="other keys"):
        decrypt_address(KEYS, new, 7)


def test_ids_tell_apart_keys_of_equal_number_and_fit_their_column() -> None:
    other = KeyRing.generate()
    for kind in KEY_KINDS:
        assert KEYS.current(kind).id != other.current(kind).id
        assert len(KEYS.current(kind).id) <= 16


def test_no_secret_shows_itself_in_a_repr() -> None:
    for key in KEYS.all:
        assert repr(key.secret) not in repr(key) + repr(KEYS)


def test_lookup_sees_through_case_composition_and_unicode_domains() -> None:
    same = ["Ada.L@Example.ORG", "ada.l@example.org", "  ADA.L@EXAMPLE.org "]
    assert len({make_lookup_hash(KEYS, a) for a in same}) == 1
    assert make_lookup_hash(KEYS, "ada@bu\u0308cher.example.org") == make_lookup_hash(
        KEYS, "ada@xn--bcher-kva.example.org"
    )
    assert make_lookup_hash(KEYS, "ada@example.org") != make_lookup_hash(KEYS, "ada@example.com")
    assert make_lookup_hash(KEYS, "ada@example.org") != make_lookup_hash(KeyRing.generate(), "ada@example.org")


def test_mail_goes_to_the_address_as_typed() -> None:
    assert read_address("Ada.L@B\u00fccher.Example.org").mailbox == "Ada.L@xn--bcher-kva.example.org"


def test_hashes_of_one_address_for_different_ends_differ() -> None:
    address = read_address("ada@example.org")
    key = KEYS.current("suppression")
    suppressed = AdoptedSuppressionKey(key, None).hash_canonical(address.canonical)
    assert len({make_lookup_hash(KEYS, address), suppressed, make_domain_tag(KEYS, address)}) == 3
    assert make_domain_tag(KEYS, address) == make_domain_tag(KEYS, read_address("bo@EXAMPLE.org"))
    assert len(make_domain_tag(KEYS, address)) == 32


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("zebra", "no @"),
        ("zebra@", "text is missing after the @"),
        ("@zebra.org", "text is missing before the @"),
        ("z\u00e9bra@example.org", "the part before the @ has accented or non-Latin characters"),
        ("zebra@nodots", "the part after the @ isn’t a domain name"),
        ("zebra@localhost", "the part after the @ isn’t a domain name"),
        ("zebra@zebra..org", "the part after the @ isn’t a domain name"),
        ("zebra@[127.0.0.1]", "the part after the @ isn’t a domain name"),
        ("zebra giraffe@example.org", "enter only the address"),
        ('"zebra"@example.org', "enter only the address"),
        ("Zebra <zebra@example.org>", "the part after the @ isn’t a domain name"),
        ("zebra@example.org\r\nRCPT TO:<giraffe@example.org>", "the part after the @ isn’t a domain name"),
        ("", "no @"),
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(text: str, says: str) -> None:
    with pytest.raises(AddressError, match=says) as caught:
        read_address(text)
    assert "zebra" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text())
def test_reading_an_address_raises_nothing_but_its_own_error(text: str) -> None:
    try:
        parsed = read_address(text)
    except AddressError:
        return
    assert parsed.mailbox.isascii()
    assert parsed.mailbox.isprintable()
    assert read_address(parsed.mailbox) == parsed


def test_an_address_hides_in_a_repr() -> None:
    assert "ada" not in repr(read_address("ada@example.org"))


def test_a_key_file_is_private_whole_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    created = KeyRing.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyRing.load(path).all == created.all
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(KeyFileError, match="already exists and wasn't changed"):
        KeyRing.create(path)
    assert KeyRing.load(path).all == created.all


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.json"
    KeyRing.create(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        KeyRing.load(path)


def test_a_damaged_key_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyRing.create(path)
    whole = json.loads(path.read_text())
    *others, vault = whole["keys"]
    secret = vault["secret"]
    broken = [
        "not json",
        json.dumps({"keys": [*others, {**vault, "secret": secret[4:]}]}),
        json.dumps({"keys": [*others, {**vault, "secret": "AAAA" + secret[4:]}]}),
        json.dumps({"keys": others}),
        json.dumps({"keys": [*whole["keys"], vault]}),
        json.dumps({"keys": [*others, {name: value for name, value in vault.items() if name != "id"}]}),
    ]
    for text in broken:
        path.write_text(text)
        with pytest.raises(KeyFileError) as caught:
            KeyRing.load(path)
        assert secret[4:] not in str(caught.value)


def test_a_missing_key_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="digest init"):
        KeyRing.load(tmp_path / "keys.json")


def test_the_keys_of_the_demo_are_the_same_everywhere() -> None:
    assert KeyRing.from_seed(b"demo").all == KeyRing.from_seed(b"demo").all
    assert len({k.secret for k in KeyRing.from_seed(b"demo").all}) == len(KEY_KINDS)
    assert make_lookup_hash(KeyRing.from_seed(b"demo"), "ada@example.org").startswith("7fbd4de3c1e64adb")

from hypothesis import example, given
from hypothesis import strategies as st

from subscribers.address import Address, AddressError, read_address
from subscribers.transfer.import_report import is_disposable_address, is_role_address
from subscribers.transfer.rows import read_address_fast

ATEXT = "abcXYZ019.!#$%&'*+-/=?^_`{|}~"
LOCAL = (
    st.text(ATEXT, max_size=70) | st.text(max_size=12) | st.sampled_from(["Info", "POSTMASTER", '"a b"', "a..b", ".a"])
)
LABEL = st.text("abcXYZ09-_éß。", min_size=1, max_size=66) | st.sampled_from(["xn--mnchen-3ya", "xn--a", "ab--c"])
DOMAIN = st.lists(LABEL, max_size=6).map(".".join) | st.sampled_from(
    ["münchen.example", "EXAMPLE.org", "a.test", "[127.0.0.1]", "example.org.", "a.localhost", "1.2.3.4"]
)


def _either(read: object, text: str) -> Address | str:
    try:
        return read(text)  # type: ignore[operator,no-any-return]
    except AddressError as exc:
        return str(exc)


@given(LOCAL, DOMAIN, st.sampled_from(["", " ", "\n", "\x00"]))
@example("a" * 64, f"{'b' * 60}.{'c' * 60}.{'d' * 63}.example.org", "")
@example("a" * 190, f"{'b' * 52}.example.org", "")
@example("x", "é" * 30 + ".example", "")
def test_the_quick_way_gives_what_the_slow_one_gives(local: str, domain: str, around: str) -> None:
    for text in (f"{local}@{domain}", f"{around}{local}@{domain}{around}", local, f"{local}@{domain}@{domain}"):
        assert _either(read_address_fast, text) == _either(read_address, text)


@given(st.text(max_size=30))
def test_any_text_is_read_alike(text: str) -> None:
    assert _either(read_address_fast, text) == _either(read_address, text)


def test_roles_and_throw_away_domains_are_marked() -> None:
    assert is_role_address(read_address("INFO+news@example.org"))
    assert not is_role_address(read_address("ada@example.org"))
    assert is_disposable_address(read_address("ada@Mailinator.com"))
    assert not is_disposable_address(read_address("ada@example.org"))

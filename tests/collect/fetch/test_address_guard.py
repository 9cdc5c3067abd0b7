"""The IP addresses that can be reached, for literals in every form and for every DNS answer."""

import ipaddress
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.fetch.address_guard import (
    AddressGuard,
    AddressRefusedError,
    UnknownHostError,
    find_block_reason,
    parse_ip_literal,
    unmap_ipv4,
)
from tests.conftest import WAIT_TIMEOUT

CLOSED_NETWORKS = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
]


def nobody(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was looked up")


def closed_v4() -> st.SearchStrategy[ipaddress.IPv4Address]:
    networks = st.sampled_from(CLOSED_NETWORKS)
    return networks.flatmap(lambda network: st.ip_addresses(network=network)).map(as_v4)


def as_v4(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    assert isinstance(address, ipaddress.IPv4Address)
    return address


def written_oddly(address: ipaddress.IPv4Address) -> list[str]:
    number, (a, b, c, d) = int(address), address.packed
    host_part = number & 0xFFFFFF
    return [
        str(address),
        f"{address}.",
        str(number),
        f"0x{number:x}",
        f"0X{number:08X}",
        f"0{number:o}",
        f"{a}.{host_part}",
        f"{a}.{b}.{(c << 8) | d}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"0x{a:x}.{b}.0{c:o}.{d}",
        f"[::ffff:{address}]",
        f"[0:0:0:0:0:ffff:{a:02x}{b:02x}:{c:02x}{d:02x}]",
        f"[64:ff9b::{address}]",
        f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]",
        f"[::{address}]",
    ]


@given(closed_v4())
def test_a_closed_address_is_refused_in_every_way_of_writing_it(address: ipaddress.IPv4Address) -> None:
    guard = AddressGuard([], nobody)
    for host in written_oddly(address):
        with pytest.raises(AddressRefusedError):
            guard.resolve(host, 80, timeout=WAIT_TIMEOUT)


@given(st.ip_addresses(v=4))
def test_all_ways_of_writing_an_ipv4_address_are_judged_alike(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    for host in written_oddly(as_v4(address))[:12]:
        literal = parse_ip_literal(host)
        assert literal is not None
        assert unmap_ipv4(literal) == address
        assert find_block_reason(literal) == find_block_reason(address)


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_outside_the_global_range_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inside = address in ipaddress.ip_network("2000::/3")
    embeds = any(address in ipaddress.ip_network(n) for n in ("64:ff9b::/96", "::ffff:0:0/96"))
    assert inside or embeds or find_block_reason(address)


@given(st.ip_addresses())
def test_whatever_python_calls_private_or_special_is_closed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert find_block_reason(address)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "[64:ff9b::8.8.8.8]", "[::ffff:8.8.8.8]"])
def test_a_public_address_may_be_reached(host: str) -> None:
    assert len(AddressGuard([], nobody).resolve(host, 80, timeout=WAIT_TIMEOUT)) == 1


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("169.254.169.254", "link-local"),
        ("100.100.100.200", "carrier-grade"),
        ("[fd00:ec2::254]", "private"),
        ("[fe80::1%eth0]", "link-local"),
        ("168.63.129.16", "cloud"),
        ("0", "unspecified"),
        ("[::]", "unspecified"),
        ("[2001:0:53aa:64c::1]", "reserved"),
    ],
)
def test_the_services_of_clouds_and_other_special_addresses_are_refused(host: str, why: str) -> None:
    with pytest.raises(AddressRefusedError) as caught:
        AddressGuard([], nobody).resolve(host, 80, timeout=WAIT_TIMEOUT)
    assert why in caught.value.detail


@pytest.mark.parametrize("host", ["1.2.3.4.5", "feeds.example.7", "256.1.1.1", "0x1ffffffff", "1.2.3.300"])
def test_numbers_that_are_no_address_are_not_looked_up(host: str) -> None:
    with pytest.raises(UnknownHostError):
        AddressGuard([], nobody).resolve(host, 80, timeout=WAIT_TIMEOUT)


def test_localhost_is_refused_by_what_it_resolves_to() -> None:
    with pytest.raises(AddressRefusedError, match=r"localhost can't be reached .*limits.allow_networks") as caught:
        AddressGuard([]).resolve("localhost", 80, timeout=WAIT_TIMEOUT)
    assert "loopback" in caught.value.detail


def test_one_closed_answer_among_good_ones_refuses_the_name() -> None:
    guard = AddressGuard([], lambda *_: ["93.184.216.34", "10.0.0.7"])
    with pytest.raises(AddressRefusedError) as caught:
        guard.resolve("feeds.example.org", 80, timeout=WAIT_TIMEOUT)
    assert caught.value.detail == "points to 10.0.0.7, which isn't on the public internet (private)"
    assert "10.0.0.7" not in str(caught.value)


def test_a_network_opened_by_name_is_reached_also_in_its_mapped_form() -> None:
    guard = AddressGuard(["127.0.0.0/8"], nobody)
    assert guard.resolve("127.0.0.1", 80, timeout=WAIT_TIMEOUT) == [ipaddress.ip_address("127.0.0.1")]
    assert guard.resolve("[::ffff:127.0.0.1]", 80, timeout=WAIT_TIMEOUT) == [ipaddress.ip_address("127.0.0.1")]
    with pytest.raises(AddressRefusedError):
        guard.resolve("10.0.0.1", 80, timeout=WAIT_TIMEOUT)


def test_the_order_of_the_resolver_is_kept_and_repeats_go() -> None:
    answers = ["2606:4700::1111", "8.8.8.8", "8.8.8.8"]
    addresses = AddressGuard([], lambda *_: answers).resolve("a.example", 80, timeout=WAIT_TIMEOUT)
    assert [str(address) for address in addresses] == ["2606:4700::1111", "8.8.8.8"]


def test_a_name_without_an_address_says_what_to_check() -> None:
    def none(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(
        UnknownHostError,
        match=r"nowhere.example can't be reached from here. Check the spelling, and the DNS and network",
    ):
        AddressGuard([], none).resolve("nowhere.example", 80, timeout=WAIT_TIMEOUT)
    with pytest.raises(UnknownHostError):
        AddressGuard([], lambda *_: []).resolve("nowhere.example", 80, timeout=WAIT_TIMEOUT)
    with pytest.raises(UnknownHostError):
        AddressGuard([], lambda *_: ["rubbish"]).resolve("nowhere.example", 80, timeout=WAIT_TIMEOUT)


def test_a_resolver_that_never_answers_is_given_up() -> None:
    release = threading.Event()

    def stuck(host: str, port: int) -> list[str]:
        release.wait()
        return []

    try:
        with pytest.raises(UnknownHostError) as caught:
            AddressGuard([], stuck).resolve("slow.example", 80, timeout=0.05)
        assert "no DNS response" in caught.value.detail
    finally:
        release.set()

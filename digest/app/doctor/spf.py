"""SPF (RFC 7208, section 4): the senders that a domain's record allows, and problems with the record.

Included records are followed.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from digest.app.doctor.network_access import DnsLookup

MAX_LOOKUPS = 10  # RFC 7208, section 4.6.4: terms that cause DNS queries
MAX_VOID_LOOKUPS = 2  # DNS queries without an answer
_TERM = re.compile(
    r"(?P<qualifier>[-+~?]?)(?P<name>all|include|a|mx|ptr|ip4|ip6|exists)"
    r"(?::(?P<value>[^/]*))?(?P<length>(?:/\d+)?(?://\d+)?)$",
    re.IGNORECASE,
)
_ASKING_NAMES = frozenset({"include", "a", "mx", "ptr", "exists"})  # RFC 7208, section 4.6.4
_MODIFIER = re.compile(r"(?P<name>[a-z][\w.-]*)=(?P<value>.*)$", re.IGNORECASE)


@dataclass
class SpfSurvey:
    """The senders that an SPF record allows.

    `networks` are their networks, and `all_qualifier` is the qualifier of the `all` term, or empty
    if there's no such term. `lookups` is the number of DNS queries that a receiver has to make.
    Each entry of `problems` is a message and a remedy.
    """

    records: list[str] = field(default_factory=list)
    networks: list[IPv4Network | IPv6Network] = field(default_factory=list)
    included: list[str] = field(default_factory=list)
    all_qualifier: str = ""
    lookups: int = 0
    void_lookups: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def allows_any(self, addresses: Iterable[str]) -> bool:
        """Return True if the record allows at least one of these IP addresses."""
        numbers = [ip_address(address) for address in addresses]
        return any(number in network for number in numbers for network in self.networks)

    def includes_owner(self, host: str) -> bool:
        """Return True if the record includes a host or another name with the same last two labels.

        Some relay services accept email at one host and send it from others.
        """
        owner = host.split(".")[-2:]
        return host in self.included or (
            len(owner) == 2 and any(name.split(".")[-2:] == owner for name in self.included)
        )


def find_spf_records(dns: DnsLookup, domain: str) -> list[str]:
    """Return the SPF records among a domain's TXT records.

    There may be only one (RFC 7208, section 4.5).
    """
    return [text for text in dns.find_texts(domain) if text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")]


def survey_spf(dns: DnsLookup, domain: str) -> SpfSurvey:
    """Survey a domain's SPF record and all of the records that it includes."""
    survey = SpfSurvey()
    _SpfReader(dns, survey).read(domain, ())
    if survey.lookups > MAX_LOOKUPS:
        survey.problems.append(
            (
                f"The SPF record of {domain} needs {survey.lookups} DNS lookups, more than the limit of {MAX_LOOKUPS}, so mailbox providers ignore it.",
                "Remove senders you don't use, or replace a:, mx:, and include: with IP addresses (ip4:, ip6:).",
            )
        )
    if survey.void_lookups > MAX_VOID_LOOKUPS:
        survey.problems.append(
            (
                (
                    f"The SPF record of {domain} contains {survey.void_lookups} hosts that don't exist, more than the "
                    f"limit of {MAX_VOID_LOOKUPS}."
                ),
                "Remove these hosts from the record, or correct their names.",
            )
        )
    return survey


def survey_spf_record(dns: DnsLookup, domain: str, text: str) -> SpfSurvey:
    """Survey a record's text as if the domain had published it."""
    survey = SpfSurvey(records=[text])
    _SpfReader(dns, survey).read_terms(text.split()[1:], domain, ())
    return survey


def merge_spf_records(records: Sequence[str], added: str = "") -> str:
    """Return one SPF record that combines the terms of `records` and `added`.

    It allows only senders that at least one of them allows. It ends in `~all` if any of the records
    does, because it must not be stricter than that record. Otherwise, it ends in `-all`.
    """
    terms = [term for record in records for term in record.split()[1:]]
    included = [re.sub(r"^redirect=", "include:", term, flags=re.IGNORECASE) for term in terms]
    kept_terms = [term for term in included if term.lower().lstrip("-+~?") != "all"]
    has_soft = any(term.lower() == "~all" for term in terms)
    return " ".join(
        ["v=spf1", *dict.fromkeys([*kept_terms, *([added] if added else [])]), "~all" if has_soft else "-all"]
    )


class _SpfReader:
    def __init__(self, dns: DnsLookup, survey: SpfSurvey) -> None:
        self._dns, self._survey = dns, survey

    def read(self, domain: str, above: tuple[str, ...]) -> None:
        """Read a domain's SPF record and, recursively, those that it includes.

        `above` has the domains whose records include it.
        """
        survey = self._survey
        if domain in above:
            problem = f"The SPF record of {above[0]} includes {domain} in a loop."
            survey.problems.append((problem, f"Remove include:{domain} from the record of {above[-1]}."))
            return
        records = find_spf_records(self._dns, domain)
        if not above:
            survey.records = sorted(records)  # DNS returns records in any order
        elif len(records) != 1:
            problem = f"The SPF record of {above[0]} includes {domain}, which has {len(records) or 'no'} SPF records."
            survey.problems.append(
                (problem, f"Remove include:{domain} from the record of {above[-1]}, or correct its name.")
            )
        if len(records) != 1 or survey.lookups > 3 * MAX_LOOKUPS:
            return
        self.read_terms(records[0].split()[1:], domain, above)

    def read_terms(self, terms: list[str], domain: str, above: tuple[str, ...]) -> None:
        """Read the terms of one record."""
        has_all = any(term.lower().lstrip("-+~?") == "all" for term in terms)
        for term in terms:
            self._read_term(term, domain, above, follow_redirect=not has_all)

    def _read_term(self, term: str, domain: str, above: tuple[str, ...], *, follow_redirect: bool) -> None:
        mechanism, modifier = _TERM.match(term), _MODIFIER.match(term)
        if mechanism is not None:
            self._read_mechanism(mechanism, domain, above)
        elif modifier is None:
            problem = f"The SPF record of {domain} contains {term}, which isn't valid (RFC 7208, section 4.6.1)."
            remedy = f"Correct or remove {term} (an IP address is written ip4:192.0.2.1 or ip6:2001:db8::1)."
            self._survey.problems.append((problem, remedy))
        elif modifier["name"].lower() == "redirect" and follow_redirect:
            self._survey.lookups += 1
            self.read(modifier["value"].lower(), (*above, domain))

    def _read_mechanism(self, mechanism: re.Match[str], domain: str, above: tuple[str, ...]) -> None:
        survey = self._survey
        name, value = mechanism["name"].lower(), (mechanism["value"] or "").lower()
        survey.lookups += name in _ASKING_NAMES
        if name == "all":
            survey.all_qualifier = survey.all_qualifier if above else mechanism["qualifier"] or "+"
        elif name == "include":
            survey.included.append(value)
            self.read(value, (*above, domain))
        elif name in {"ip4", "ip6"} or (name in {"a", "mx"} and "%" not in value):
            self._add_networks(name, value or domain, mechanism["length"], passes=mechanism["qualifier"] in {"", "+"})

    def _add_networks(self, name: str, value: str, length: str, *, passes: bool) -> None:
        survey = self._survey
        if name.startswith("ip"):
            addresses = [value]
        else:
            hosts = [value] if name == "a" else [host for host in self._dns.find_exchangers(value) if host != "."]
            addresses = [address for host in hosts for address in self._dns.find_addresses(host)]
            survey.void_lookups += not addresses
        for address in addresses:
            try:
                network = ip_network(f"{address}{_choose_length(address, length)}", strict=False)
            except ValueError:
                survey.problems.append(
                    (
                        f"An SPF record contains {name}:{value}{length}, which isn't a network.",
                        f"Correct {name}:{value}{length} in the record.",
                    )
                )
                continue
            if passes:
                survey.networks.append(network)


def _choose_length(address: str, length: str) -> str:
    """Return the part of a prefix length such as `/24//64` that applies to the IP version of `address`.

    If there's none, the network is a single address and the result is empty.
    """
    ipv4, _, ipv6 = length.partition("//") if not length.startswith("//") else ("", "", length[2:])
    if ":" in address:
        return f"/{ipv6}" if ipv6 else ipv4 if "//" not in length else ""
    return ipv4

"""DMARC (RFC 9989, section 4.10): discovering a domain's policy in DNS, and detecting problems with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from digest.app.doctor.network_access import DnsLookup

MAX_LABELS = 8  # RFC 9989, section 4.10: after the first query, longer names are cut to 7 labels
POLICIES = ("none", "quarantine", "reject")
GONE_TAGS = {"pct": "use t=y for a test policy", "rf": "receivers ignore it", "ri": "reports are sent daily"}


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """A DMARC record's tags, and the domain that published it.

    The names of its tags are in lowercase.
    """

    domain: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DmarcDiscovery:
    """The result of a DNS tree walk for a domain.

    `record` is the record that applies, and `organization` the organizational domain.
    """

    record: DmarcRecord | None
    organization: str
    policy: str = ""
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Walk:
    records: list[DmarcRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def parse_record_tags(text: str) -> dict[str, str]:
    """Return the tags of a record in DKIM's tag-list format (RFC 6376, section 3.2), with names in lowercase."""
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def discover_policy(dns: DnsLookup, domain: str) -> DmarcDiscovery:
    """Find the record that mailbox providers apply to a domain's email.

    It's the domain's own record or else the one of its organizational domain.
    """
    walk = _walk_up(dns, domain)
    organization = _choose_organization(walk.records, domain)
    own = [record for record in walk.records if record.domain == domain]
    wide = [record for record in walk.records if record.domain == organization] or walk.records[-1:]
    if not walk.records:
        return DmarcDiscovery(None, organization, problems=tuple(walk.problems))
    record = (own or wide)[0]
    return DmarcDiscovery(
        record, organization, _choose_policy(record, domain), (*walk.problems, *_find_record_problems(record))
    )


def find_organizational_domain(dns: DnsLookup, domain: str) -> str:
    """Return the organizational domain that a domain belongs to.

    Domains that share one are aligned in relaxed mode.
    """
    return _choose_organization(_walk_up(dns, domain).records, domain)


def are_aligned(dns: DnsLookup, author: str, other: str, *, strict: bool) -> bool:
    """Return True if an authenticated domain is aligned with the domain in the From header."""
    return author == other or (
        not strict and find_organizational_domain(dns, author) == find_organizational_domain(dns, other)
    )


def correct_dmarc_record(record: DmarcRecord, reports: str) -> str:
    """Return the text of a corrected record.

    Its policies are valid, its removed tags are gone, and it has a report address.
    """
    tags = {name: value for name, value in record.tags.items() if name not in GONE_TAGS}
    tags |= {tag: "none" for tag in ("p", "sp", "np") if tag in tags and tags[tag].lower() not in POLICIES}
    tags.setdefault("rua", f"mailto:{reports}")
    return "; ".join(f"{name}={value}" for name, value in tags.items())


def _walk_up(dns: DnsLookup, domain: str) -> _Walk:
    walk = _Walk()
    for name in _list_steps(domain):
        records = [text for text in dns.find_texts(f"_dmarc.{name}") if parse_record_tags(text).get("v") == "DMARC1"]
        if len(records) > 1:
            walk.problems.append(
                f"_dmarc.{name} has {len(records)} DMARC records, so mailbox providers ignore them all."
            )
        if len(records) == 1:
            walk.records.append(DmarcRecord(name, parse_record_tags(records[0])))
            if walk.records[-1].tags.get("psd") in {"y", "n"}:
                break
    return walk


def _list_steps(domain: str) -> list[str]:
    """Return the names to query, from the domain itself up to its last label."""
    labels = domain.lower().rstrip(".").split(".")
    first, parent_labels = labels, labels[1:]
    if len(labels) > MAX_LABELS:
        parent_labels = labels[-(MAX_LABELS - 1) :]
    return [".".join(step) for step in (first, *(parent_labels[at:] for at in range(len(parent_labels))))]


def _choose_organization(records: list[DmarcRecord], domain: str) -> str:
    for record in records:
        if record.tags.get("psd") == "n":
            return record.domain
        if record.tags.get("psd") == "y" and record.domain != domain:
            depth = record.domain.count(".") + 2
            return ".".join(domain.split(".")[-depth:])
    return min((record.domain for record in records), key=lambda name: name.count("."), default=domain)


def _choose_policy(record: DmarcRecord, domain: str) -> str:
    policy = record.tags.get("p", "none")
    return policy if record.domain == domain else record.tags.get("sp", policy)


def _find_record_problems(record: DmarcRecord) -> list[str]:
    tags, place = record.tags, f"_dmarc.{record.domain}"
    problems = [
        f"{place} has {tag}={tags[tag]}, which isn't a valid policy."
        for tag in ("p", "sp", "np")
        if tag in tags and tags[tag].lower() not in POLICIES
    ]
    problems += [
        f"{place} has {tag}=, which was removed from DMARC in RFC 9989, section 9.3 ({why})."
        for tag, why in GONE_TAGS.items()
        if tag in tags
    ]
    if "rua" not in tags:
        problems.append(f"{place} has no report address (rua=), so you won't learn about email that fails DMARC.")
    return problems


def get_domain(address: str) -> str:
    """Return the domain of an address, without changing its case."""
    return address.rpartition("@")[2]


def choose_report_address(sender: str, reply_to: str) -> str:
    """Return the address that DMARC reports are sent to.

    It's the reply address if its domain is the sender's or a parent of it, and otherwise the
    sender's.
    """
    domain, reply_domain = (get_domain(address).lower() for address in (sender, reply_to))
    return reply_to if f".{domain}".endswith(f".{reply_domain}") else sender


def make_report_consent_name(domain: str, report_domain: str) -> str:
    """Return the name of the record that lets a domain receive the reports of another.

    See RFC 9990, section 4.
    """
    return f"{domain}._report._dmarc.{report_domain}"

"""The lines that the DNS must have before mail arrives and pages are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from digest.app.setup.answers import SetupAnswers
from digest.deliver.compose.dkim import DkimSigner, quote_record_text
from digest.settings import is_loopback

EXAMPLE_ADDRESS = "192.0.2.1"  # RFC 5737: it is nobody's, and stands for this machine's


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record as a zone file has it; `note` says what to put in, or what it is for."""

    name: str
    kind: str
    value: str
    note: str

    def __str__(self) -> str:
        """Write it as a line of a zone file."""
        return f"{self.name}. {self.kind} {self.value}"


def list_dns_records(answers: SetupAnswers, signer: DkimSigner | None) -> Sequence[DnsRecord]:
    """Return the records that mail and pages need; the DKIM keys' where mail is signed here."""
    records = []
    if answers.is_behind_proxy:
        records.append(
            DnsRecord(
                answers.host, "A", EXAMPLE_ADDRESS, "the pages; put this machine's address in, and an AAAA beside it"
            )
        )
    if answers.mail == "outbox":
        return records
    domain = answers.sender_domain
    if answers.mail == "smtp":
        server = answers.host if is_loopback(answers.smtp_host) else answers.smtp_host
        spf = f'"v=spf1 a:{server} -all"'
        records.append(DnsRecord(domain, "TXT", spf, "SPF; name there whatever else sends for this domain"))
        if signer is not None:
            records += [
                DnsRecord(
                    f"{key.selector}._domainkey.{signer.domain}", "TXT", quote_record_text(key.dns_record()), "DKIM"
                )
                for key in signer.keys
            ]
    note = "what comes back; for MAILHOST put in the server that takes this domain's mail: whoever runs your mailboxes knows it"
    records.append(DnsRecord(domain, "MX", "10 MAILHOST.", note))
    policy = f'"v=DMARC1; p=none; rua=mailto:{answers.reply_to}"'
    note = "DMARC; p=quarantine once the reports show that all your mail passes"
    records.append(DnsRecord(f"_dmarc.{domain}", "TXT", policy, note))
    if answers.mail == "smtp" and is_loopback(answers.smtp_host):
        note = "PTR, set by whoever gave you the address: this machine's address leads to the mail server's name, and that back to it"
        records.append(DnsRecord(ip_address(EXAMPLE_ADDRESS).reverse_pointer, "PTR", f"{answers.host}.", note))
    return records

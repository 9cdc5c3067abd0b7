"""Faults of DNS, mail servers, the SendGrid account, and pages, each with the check that finds it and the advice; and what carries it out."""

import re
import tomllib
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from digest.deliver.compose.dkim import SigningKey
from digest.deliver.providers.kind import DoctorFinding
from tests.app.doctor.outside import MAIL_ADDRESS, MAIL_HOST, SITE_HOST, SOUND_ACCOUNT, OutsideSetup, make_certificate
from tests.app.doctor.remedies import NEW_KEY, NEW_TABLE, drop_alternatives, read_variable_changes
from tests.deliver.fake_imap_server import USER
from tests.deliver.fake_sendgrid_account import API_KEY

KEY_NAME = "one._domainkey.hls.test"
OutsidePlant = Callable[[OutsideSetup], object]


def set_text(name: str, *texts: str) -> OutsidePlant:
    return lambda world: world.set_text(name, *texts)


def drop(name: str, kind: str) -> OutsidePlant:
    return lambda world: world.names.records.pop((name, kind))


def set_records(name: str, kind: str, *values: str) -> OutsidePlant:
    return lambda world: world.names.records.update({(name, kind): list(values)})


def publish_key(bits: int) -> OutsidePlant:
    def plant(world: OutsideSetup) -> None:
        record = SigningKey("one", rsa.generate_private_key(65537, bits)).dns_record()
        world.set_text(KEY_NAME, record)
        if bits < 2048:
            world.change_table("relay", dkim_record=KEY_NAME)

    return plant


def publish_weak_key(world: OutsideSetup) -> None:
    """Publish 768 bits, which this library makes no more: the modulus of an old key."""
    modulus = (1 << 767) + 12345
    numbers = rsa.RSAPublicNumbers(65537, modulus)
    der = numbers.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    world.set_text(KEY_NAME, f"v=DKIM1; k=rsa; p={b64encode(der).decode()}")
    world.change_table("relay", dkim_record=KEY_NAME)


def cut_key_off(world: OutsideSetup) -> None:
    """Publish what fits into one string of 255 characters, as some providers' forms do."""
    (record,) = world.names.records[KEY_NAME, "TXT"]
    world.set_text(KEY_NAME, record.replace('" "', "").strip('"')[:250])


def mark_as_tried(world: OutsideSetup) -> None:
    (record,) = world.names.records[KEY_NAME, "TXT"]
    world.names.records[KEY_NAME, "TXT"] = [record.replace('"v=DKIM1; ', '"v=DKIM1; t=y; ', 1)]


def nest_includes(world: OutsideSetup) -> None:
    for number in range(11):
        world.set_text(f"s{number}.test", "v=spf1 ip4:198.51.100.1 -all")
    world.set_text("bounce.hls.test", f"v=spf1 a:{MAIL_HOST} {' '.join(f'include:s{n}.test' for n in range(11))} -all")


def end_mail_certificate(world: OutsideSetup) -> None:
    file = world.install_certificate("smtp", days=3)
    world.authorities = world.certificate
    world.mail_by(f"smtps://digest:right@127.0.0.1:{world.smtp_port}?ca={file}")


def sign_own_certificate(world: OutsideSetup) -> None:
    world.contexts["site"].load_cert_chain(make_certificate(world.folder / "own.pem"))


def trust_another(world: OutsideSetup) -> None:
    """Trust only an authority that didn't sign the mail server's certificate."""
    other = make_certificate(world.folder / "other.pem")
    world.mail_by(f"smtps://digest:right@127.0.0.1:{world.smtp_port}?ca={other}")


def return_to_stranger(world: OutsideSetup) -> None:
    world.change_table("sender", bounce_domain="other.test")
    world.set_text("other.test", f"v=spf1 a:{MAIL_HOST} -all")
    world.names.records["other.test", "MX"] = [f"10 {MAIL_HOST}."]


def drop_forwarded(world: OutsideSetup) -> None:
    world.site.forwarded = []


def add_proxy(world: OutsideSetup) -> None:
    world.site.forwarded = ["192.0.2.7", "192.0.2.8"]


def enter_wrong_key(world: OutsideSetup) -> None:
    world.use_sendgrid()
    world.change_settings(sendgrid_api_key=SecretStr("SG.wrong"))


def use_other_name(world: OutsideSetup) -> None:
    """Reach the pages by a name that the certificate has not."""
    world.names.records["other.hls.test", "A"] = ["127.0.0.1"]
    world.change_settings(base_url=world.settings.base_url.replace(SITE_HOST, "other.hls.test"))


def mail_over(user: str, host: str = "127.0.0.1") -> OutsidePlant:
    return lambda world: world.mail_by(f"smtps://{user}@{host}:{world.smtp_port}")


def with_account(path: str, status: int, body: object) -> OutsidePlant:
    def plant(world: OutsideSetup) -> None:
        world.use_sendgrid()
        world.account_answers[f"/v3/{path}"] = (status, body)

    return plant


def answer(request: str, status: str, *headers: tuple[str, str], body: str = "") -> OutsidePlant:
    return lambda world: world.site.answers.update({request: (status, list(headers), body)})


def receive_mail_elsewhere(world: OutsideSetup, *domains: str) -> None:
    """Have these domains' email accepted by a server that sends none."""
    world.names.records["in.hls.test", "A"] = [MAIL_ADDRESS]
    world.names.records.update({(domain, "MX"): ["10 in.hls.test."] for domain in domains})


def lose_mail_host(world: OutsideSetup) -> None:
    receive_mail_elsewhere(world, "hls.test", BOUNCE_DOMAIN)
    world.names.records.pop((MAIL_HOST, "A"))


def sign_for_stranger(world: OutsideSetup) -> None:
    world.change_settings(dkim_domain="other.test")
    world.change_table("sender", bounce_domain="other.test")
    receive_mail_elsewhere(world, "other.test")


def let_stranger_sign(world: OutsideSetup) -> None:
    world.change_table("relay", dkim_record="mail._domainkey.other.test")
    world.change_table("sender", bounce_domain="other.test")
    receive_mail_elsewhere(world, "other.test")


def demand_strictness(world: OutsideSetup) -> None:
    world.set_text("_dmarc.hls.test", "v=DMARC1; p=none; aspf=s; rua=mailto:dmarc@hls.test")


def point_nowhere(world: OutsideSetup) -> None:
    world.names.records["25.2.0.192.in-addr.arpa", "PTR"] = ["host-25.provider.test."]


def drop_hsts(world: OutsideSetup) -> None:
    world.site.dropped_headers = {"strict-transport-security"}


def turn_clock_back(world: OutsideSetup) -> None:
    world.now -= timedelta(minutes=5)


BOUNCE_DOMAIN = "bounce.hls.test"
OUTSIDE_FAULTS: dict[str, tuple[OutsidePlant, str, str]] = {
    "a source that doesn't answer": (lambda w: w.list_source("/moved"), "source-answers", "digest sources test URL"),
    "no SPF": (drop(BOUNCE_DOMAIN, "TXT"), "spf", f'"v=spf1 a:{MAIL_HOST} -all"'),
    "two SPF records": (
        set_text(BOUNCE_DOMAIN, "v=spf1 mx:s.test ~all", "v=spf1 ip4:198.51.100.7 -all"),
        "spf",
        (
            f", adds your current sender (a:{MAIL_HOST}), and ends in ~all (softfail), the milder of their endings: "
            f'{BOUNCE_DOMAIN}. TXT "v=spf1 ip4:198.51.100.7 mx:s.test a:{MAIL_HOST} ~all"'
        ),
    ),
    "two SPF records that end alike": (
        set_text(BOUNCE_DOMAIN, f"v=spf1 a:{MAIL_HOST} -all", "v=spf1 ip4:198.51.100.7 -all"),
        *("spf", "ends in -all, like they do"),
    ),
    "SPF lets everybody through": (
        set_text(BOUNCE_DOMAIN, f"v=spf1 a:{MAIL_HOST} +all"),
        *("spf", f'{BOUNCE_DOMAIN}. TXT "v=spf1 a:{MAIL_HOST} -all"'),
    ),
    "SPF says nothing of others": (
        set_text(BOUNCE_DOMAIN, f"v=spf1 a:{MAIL_HOST} ?all"),
        *("spf", f'{BOUNCE_DOMAIN}. TXT "v=spf1 a:{MAIL_HOST} -all"'),
    ),
    "SPF needs too many look-ups": (nest_includes, "spf", "with IP addresses (ip4:, ip6:)"),
    "SPF includes itself": (
        set_text(BOUNCE_DOMAIN, f"v=spf1 a:{MAIL_HOST} include:{BOUNCE_DOMAIN} -all"),
        "spf",
        f"Remove include:{BOUNCE_DOMAIN} from",
    ),
    "SPF includes what is not there": (
        set_text(BOUNCE_DOMAIN, f"v=spf1 a:{MAIL_HOST} include:no.test -all"),
        "spf",
        "Remove include:no.test",
    ),
    "SPF names hosts that do not exist": (
        set_text(BOUNCE_DOMAIN, f"v=spf1 a:{MAIL_HOST} a:x.test a:y.test mx:z.test -all"),
        *("spf", "correct their names"),
    ),
    "SPF with a slip": (
        set_text(BOUNCE_DOMAIN, f"v=spf1 a:{MAIL_HOST} ipv4:192.0.2.1 -all"),
        "spf",
        "Correct or remove ipv4:192.0.2.1",
    ),
    "SPF without the mail server": (
        set_text(BOUNCE_DOMAIN, "v=spf1 ip4:198.51.100.7 -all"),
        "spf",
        f'TXT "v=spf1 ip4:198.51.100.7 a:{MAIL_HOST} -all"',
    ),
    "the DNS fails": (lambda w: w.names.failing.add(BOUNCE_DOMAIN), "resolver", "/etc/resolv.conf"),
    "no DKIM record": (drop(KEY_NAME, "TXT"), "dkim-record", f'{KEY_NAME}. TXT "v=DKIM1'),
    "two DKIM records": (
        set_text(KEY_NAME, "v=DKIM1; p=AAAA", "v=DKIM1; p=BBBB"),
        "dkim-record",
        "Replace any DNS record",
    ),
    "another DKIM key": (publish_key(2048), "dkim-record", "Replace any DNS record"),
    "a DKIM record that was cut off": (cut_key_off, "dkim-record", "at most 255 characters. Replace any DNS record"),
    "the sending host has no address": (lose_mail_host, "mail-host", "with the server's IP address"),
    "a revoked DKIM key": (set_text(KEY_NAME, "v=DKIM1; k=rsa; p="), "dkim-record", "Replace any DNS record"),
    "a DKIM key that is tried": (mark_as_tried, "dkim-record", "Remove t=y"),
    "a short DKIM key": (publish_key(1024), "dkim-record", "2,048-bit key"),
    "a weak DKIM key": (publish_weak_key, "dkim-record", "2,048-bit key"),
    "no record of the mail server's key": (
        lambda w: w.change_table("relay", dkim_record="mail._domainkey.hls.test"),
        "dkim-record",
        "the record that your mail server printed",
    ),
    "a mail server that signs for another domain": (
        let_stranger_sign,
        "alignment",
        "Have your mail server sign for that domain",
    ),
    "no DMARC": (
        drop("_dmarc.hls.test", "TXT"),
        "dmarc",
        ('Add this as the only DMARC record in DNS: _dmarc.hls.test. TXT "v=DMARC1; p=none; rua=mailto:desk@hls.test"'),
    ),
    "two DMARC records": (
        set_text("_dmarc.hls.test", "v=DMARC1; p=none", "v=DMARC1; p=reject"),
        "dmarc",
        "as the only DMARC record",
    ),
    "no reports of DMARC": (
        set_text("_dmarc.hls.test", "v=DMARC1; p=none"),
        *("dmarc", "p=none; rua=mailto:desk@hls.test"),
    ),
    "a DMARC policy that is none": (
        set_text("_dmarc.hls.test", "v=DMARC1; p=block; rua=mailto:dmarc@hls.test"),
        *("dmarc", '"v=DMARC1; p=none; rua=mailto:dmarc@hls.test"'),
    ),
    "DMARC in percent": (
        set_text("_dmarc.hls.test", "v=DMARC1; p=none; pct=50; rua=mailto:dmarc@hls.test"),
        *("dmarc", '"v=DMARC1; p=none; rua=mailto:dmarc@hls.test"'),
    ),
    "reports to somebody who takes none": (
        set_text("_dmarc.hls.test", "v=DMARC1; p=none; rua=mailto:us@reports.example"),
        *("dmarc", "hls.test._report._dmarc.reports.example"),
    ),
    "nothing speaks for From": (sign_for_stranger, "alignment", "DIGEST_DKIM_DOMAIN"),
    "the return path is another's": (
        return_to_stranger,
        "alignment",
        "as the bounce domain",
    ),
    "the return path is below, and must not be": (demand_strictness, "alignment", "as the bounce domain"),
    "no exchanger for bounces": (drop(BOUNCE_DOMAIN, "MX"), "exchangers", f"{BOUNCE_DOMAIN}. MX 10 MAILHOST"),
    "a domain that takes no mail": (set_records("hls.test", "MX", "0 ."), "exchangers", "hls.test. MX 10 MAILHOST"),
    "an exchanger without address": (
        set_records("hls.test", "MX", "10 gone.hls.test."),
        "exchangers",
        "add this DNS record: gone.hls.test. A IP-ADDRESS. Or replace the MX record with: hls.test. MX 10 THEIR-SERVER.",
    ),
    "no reverse name": (drop("25.2.0.192.in-addr.arpa", "PTR"), "reverse-name", "PTR record"),
    "a reverse name that leads elsewhere": (point_nowhere, "reverse-name", "PTR record"),
    "the mail server refuses the sign-in": (
        mail_over("digest:wrong"),
        "mail-server",
        "in the form smtps://USER:PASSWORD@127.0.0.1:",
    ),
    "the mail server's certificate is for another name": (
        mail_over("digest:right", "localhost"),
        "mail-server",
        "certificate",
    ),
    "nobody vouches for the mail server": (trust_another, "mail-server", "ca=FILE"),
    "the mail server's certificate ends": (end_mail_certificate, "mail-server", "Renew the certificate"),
    "the mailbox refuses the sign-in": (
        lambda w: w.change_table("inbound", user="nobody"),
        *("inbound-server", "DIGEST_INBOUND_PASSWORD"),
    ),
    "the mailbox has no such folder": (
        lambda w: w.change_table("inbound", folder="Bounces"),
        *("inbound-server", "folder setting under [inbound]"),
    ),
    "nobody vouches for the mailbox": (
        lambda w: w.change_table("inbound", host="localhost"),
        *("inbound-server", "authorities"),
    ),
    "SendGrid refuses the key": (enter_wrong_key, "provider-account", "DIGEST_SENDGRID_API_KEY"),
    "SendGrid's API key doesn't allow sending": (
        with_account("scopes", 200, {"scopes": []}),
        "provider-account",
        "mail.send",
    ),
    "SendGrid counts opens": (
        with_account("tracking_settings/open", 200, {"enabled": True}),
        *("provider-account", "Turn tracking off"),
    ),
    "SendGrid counts clicks": (
        with_account("tracking_settings/click", 200, {"enabled": False, "enable_text": True}),
        *("provider-account", "Turn tracking off"),
    ),
    "SendGrid's key may not look": (with_account("tracking_settings/open", 403, {}), "provider-account", "permission"),
    "SendGrid does not sign for us": (
        with_account("whitelabel/domains", 200, [{"domain": "hls.test", "valid": False}]),
        *("provider-account", "Authenticate hls.test"),
    ),
    "the site is not in the DNS": (drop(SITE_HOST, "A"), "site-address", f"{SITE_HOST}. A IP-ADDRESS"),
    "another site answers": (
        answer("GET /healthz", "200 OK", body="hello"),
        "site-address",
        f"Point {SITE_HOST} (in DNS)",
    ),
    "the home is another's": (
        answer("GET /", "200 OK", body="Welcome to nginx!"),
        "site-address",
        "pass on all its paths",
    ),
    "a certificate for another name": (
        use_other_name,
        *("site-certificate", "Get a certificate for other.hls.test from"),
    ),
    "the site's certificate is self-signed": (
        sign_own_certificate,
        "site-certificate",
        f"Get a certificate for {SITE_HOST} from a certificate authority",
    ),
    "the web server is stopped": (lambda w: w.web_server.stop(), "site-address", "Start the web server"),
    "the site's certificate ends": (
        lambda w: w.install_certificate("site", days=14),
        *("site-certificate", "certbot renew"),
    ),
    "the metrics are open": (
        answer("GET /metrics", "200 OK", body="digest_people 3"),
        "site-sign-in",
        "Have the proxy",
    ),
    "the desk is open": (
        answer("GET /desk/", "200 OK", body="Desk"),
        "site-sign-in",
        "Have the proxy pass on /desk/",
    ),
    "a proxy without its header": (drop_forwarded, "site-visitors", "add the client's IP address"),
    "one proxy more than declared": (add_proxy, "site-visitors", "only if all these proxies are your own"),
    "no HSTS": (drop_hsts, "site-https", "Have the proxy pass on Strict-Transport-Security"),
    "one-click is challenged": (answer("POST /u/", "403 Forbidden"), "site-one-click", "pass on requests to /u/"),
    "one-click is redirected": (
        answer("POST /u/", "301 Moved", ("Location", "https://www.hls.test{path}")),
        *("site-one-click", "without redirects"),
    ),
    "a secret in a redirect": (
        answer("GET /u/", "302 Found", ("Location", "https://tracker.test/?to={path}")),
        *("site-one-click", "without redirects"),
    ),
    "the clock is slow": (turn_clock_back, "site-clock", "timedatectl"),
}

DNS_LINE = re.compile(r'(?P<name>[\w.-]+)\. (?P<kind>TXT|A|MX) (?P<value>"[^"]*"(?: "[^"]*")*|[^\s.]+(?: [\w-]+)?)')
TXT_ELSEWHERE = re.compile(r'TXT record at (?P<name>\S+): (?P<value>"[^"]*")')


def drop_terms(world: OutsideSetup, name: str, is_dropped: Callable[[str], bool]) -> None:
    """Take terms out of the SPF record of a name."""
    (record,) = world.names.records[name, "TXT"]
    world.set_text(name, " ".join(term for term in record.strip('"').split() if not is_dropped(term)))


def drop_absent_hosts(world: OutsideSetup, name: str) -> None:
    known = {host for host, _ in world.names.records}
    drop_terms(world, name, lambda term: term.startswith(("a:", "mx:")) and term.partition(":")[2] not in known)


def renew_certificate(world: OutsideSetup, host: str) -> None:
    world.install_certificate("site" if host == SITE_HOST else "smtp")


def make_account_sound(*paths: str) -> Callable[..., object]:
    return lambda world, *_: world.account_answers.update({path: SOUND_ACCOUNT[path] for path in paths})


def point_here(world: OutsideSetup, host: str) -> None:
    set_records(host, "A", "127.0.0.1")(world)
    world.site.pass_on("/")


# What a finding asks for in words, and what it changes outside when an operator, a provider, or a publisher does it. An act is
# given what the pattern's groups find in the finding.
ACTS: dict[str, Callable[..., object]] = {
    r"Correct the URL": lambda w: w.list_source("/feed"),
    r"Check this machine's name servers": lambda w: w.names.failing.clear(),
    r"SPF record of (\S+) needs .* Remove senders you don't use": lambda w, name: drop_terms(
        w, name, lambda term: term.startswith("include:")
    ),
    r"Remove (\S+) from the record of ([\w.-]+\w)": lambda w, term, name: drop_terms(w, name, lambda t: t == term),
    r"SPF record of (\S+) contains .* Remove these hosts from the record": drop_absent_hosts,
    r"SPF record of (\S+) contains .* Correct or remove (\S+)": lambda w, name, term: drop_terms(
        w, name, lambda t: t == term
    ),
    r"(\w+\._domainkey\.\S+) .*: the record that your mail server printed": lambda w, name: set_records(
        name, "TXT", *w.sound_records[KEY_NAME, "TXT"]
    )(w),
    r"calls itself (\S+), .* Add a DNS record with the server's IP address": lambda w, name: set_records(
        name, "A", MAIL_ADDRESS
    )(w),
    r"Have your mail server sign for that domain, and correct relay.dkim_record": lambda w: w.change_table(
        "relay", dkim_record="mail._domainkey.hls.test"
    ),
    r"Ask the hosting provider to set the PTR record": set_records("25.2.0.192.in-addr.arpa", "PTR", f"{MAIL_HOST}."),
    r"in the form (\S+)USER:PASSWORD(\S+)\.": lambda w, scheme, host: w.mail_by(f"{scheme}digest:right{host}"),
    r"use the name in the server's certificate": mail_over("digest:right"),
    r"add ca=FILE with its certificates": lambda w: w.mail_by(
        f"smtps://digest:right@127.0.0.1:{w.smtp_port}?ca={w.certificate}"
    ),
    r"certificate of (\S+) expires .* Renew the certificate": renew_certificate,
    r"Correct the user setting under \[inbound\]": lambda w: w.change_table("inbound", user=USER),
    r"Correct the folder setting under \[inbound\]": lambda w: w.change_table("inbound", folder="INBOX"),
    r"set host to the name in the server's certificate": lambda w: w.change_table("inbound", host="127.0.0.1"),
    r"Check DIGEST_SENDGRID_API_KEY": lambda w: w.change_settings(sendgrid_api_key=SecretStr(API_KEY)),
    r"Add the permission mail.send to the key": make_account_sound("/v3/scopes"),
    r"Add the permission to read Tracking to the key": make_account_sound("/v3/tracking_settings/open"),
    r"Turn tracking off": make_account_sound("/v3/tracking_settings/open", "/v3/tracking_settings/click"),
    r"Authenticate hls.test": make_account_sound("/v3/whitelabel/domains"),
    r"Point (\S+) \(in DNS\) to this server .* pass on all its paths": point_here,
    r"Get a certificate for (\S+) from": lambda w, host: w.install_certificate("site", host=host),
    r"Start the web server": lambda w: w.web_server.start(),
    r"Have the proxy pass on (/\S+), (/\S+), and (/\S+) without": lambda w, *paths: w.site.pass_on(*paths),
    r"Have the proxy pass on requests to (/u/)": lambda w, path: w.site.pass_on(path),
    r"Have the proxy pass on Strict-Transport-Security": lambda w: w.site.dropped_headers.clear(),
    r"Have each proxy add the client's IP address": lambda w: w.site.forwarded.append("192.0.2.7"),
    r"timedatectl set-ntp true": lambda w: setattr(w, "now", datetime.now(UTC)),
}


def carry_out(world: OutsideSetup, finding: DoctorFinding) -> None:
    """Enter the records and settings that a finding names, and do what else it asks for; nothing else changes."""
    remedy, steps = drop_alternatives(finding.remedy), 0
    records = [(m["name"], m["kind"], m["value"]) for m in DNS_LINE.finditer(remedy)]
    records += [(m["name"], "TXT", m["value"]) for m in TXT_ELSEWHERE.finditer(remedy)]
    for name, kind, value in records:
        address = "127.0.0.1" if name == SITE_HOST else MAIL_ADDRESS
        entered = value.replace("IP-ADDRESS", address).replace("MAILHOST", f"{MAIL_HOST}.")
        world.names.records[name, kind] = [entered]
        steps += 1
    for line in (*NEW_KEY.finditer(remedy), *NEW_TABLE.finditer(remedy)):
        world.change_table(line["table"], **tomllib.loads(line["line"]))
        steps += 1
    for variable, value in read_variable_changes(finding, {}).items():
        world.change_settings(**{variable.removeprefix("DIGEST_").lower(): value})
        steps += 1
    for pattern, act in ACTS.items():
        if asked := re.search(pattern, drop_alternatives(finding.sentence)):
            act(world, *asked.groups())
            steps += 1
    assert steps, finding

"""Online checks of the public website that serves the installation's pages.

They check that links reach it over https, that staff pages require a sign-in, and that one-click
unsubscribing works. They never request a subscriber's data, because the link that they test is made
up and returns a 404.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import wraps
from urllib.parse import urlsplit

import httpx

from digest.app.doctor.check_registry import (
    CheckFunction,
    DoctorFindings,
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_exposure,
    report_ok,
    report_unexamined,
    report_warning,
)
from digest.app.doctor.network_access import FORWARDED_COUNT_HEADER
from digest.deliver.providers.certificates import judge_certificate, read_certificate_end
from digest.settings import is_local_url
from digest.settings.setting_lines import advise_key_change
from subscribers.english_text import count_with_noun
from subscribers.errors import ApplicationError

PRIVATE_PAGES = ("/desk/", "/admin/readers", "/metrics")
MIN_HSTS_SECONDS = 180 * 24 * 3600
MAX_CLOCK_DIFFERENCE = 60.0  # seconds
ONE_CLICK_BODY = {"List-Unsubscribe": "One-Click"}  # RFC 8058, section 3.2
MAX_PAGE_BYTES = 2_000_000
GET_CERTIFICATE = (
    "Get a certificate for {host} from a certificate authority. Caddy does this itself; with nginx, use certbot as in the "
    "steps that 'digest setup' prints."
)
START_WEB_SERVER = (
    "Start the web server (such as systemctl start nginx), and open its ports in the firewall. If the web server is "
    "running, check that the host's DNS record has the server's IP address."
)


class SiteError(ApplicationError):
    """Raised when the website doesn't respond. The message says why."""


class CertificateError(SiteError):
    """Raised when the website's certificate isn't valid."""


@dataclass(frozen=True, slots=True)
class SiteResponse:
    """The website's response to one of the requests that checks make.

    `valid_until` is the expiry time of the certificate, or None without TLS.
    """

    status: int
    headers: httpx.Headers
    text: str
    valid_until: datetime | None


def _visit(examined: ExaminedInstallation, path: str, *, is_post: bool = False, base: str = "") -> SiteResponse:
    """Request a page of the base URL without following redirects.

    The request goes to the IP address that the host has in DNS.

    Raises:
        SiteError: there's no response, or the host has no IP address.
        LookupFailedError: the DNS lookup failed.
    """
    url = urlsplit(f"{base or examined.settings.link_base}{path}")
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    place = f"{url.scheme}://{_find_address(examined, host)}:{port}{url.path}"
    timeout, tls = examined.outside.timeout, examined.outside.tls
    try:
        with (
            httpx.Client(verify=tls, timeout=timeout, follow_redirects=False, trust_env=False) as client,
            client.stream(
                "POST" if is_post else "GET",
                place,
                data=ONE_CLICK_BODY if is_post else None,
                headers={"Host": url.netloc, "User-Agent": "hls-digest doctor"},
                extensions={"sni_hostname": host},
            ) as response,
        ):
            secured = response.extensions["network_stream"].get_extra_info("ssl_object")
            valid_until = read_certificate_end(secured.getpeercert()) if secured else None
            return SiteResponse(response.status_code, response.headers, _read_text(response), valid_until)
    except httpx.HTTPError as exc:
        if "certificate verify failed" in str(exc):  # httpx doesn't keep the error raised by `ssl`
            reason = _explain(exc).rstrip(".")
            remedy = "" if "expired" in reason else GET_CERTIFICATE.format(host=host)
            raise CertificateError(f"The certificate of {host} isn't valid ({reason}).", remedy) from exc
        remedy = START_WEB_SERVER if isinstance(exc, httpx.ConnectError) else ""
        raise SiteError(f"The server {host} isn't responding ({_explain(exc).rstrip('.')}).", remedy) from exc


def _find_address(examined: ExaminedInstallation, host: str) -> str:
    """Return the IP address of a host in DNS, formatted for a URL.

    Raises:
        SiteError: the host has no IP address.
    """
    is_address = host.replace(".", "").isdigit() or ":" in host
    addresses = [host] if is_address else examined.outside.dns.find_addresses(host)
    if not addresses:
        raise SiteError(
            f"The name {host} has no IP address in DNS, so links in emails don't work.",
            remedy=f"Add this DNS record, replacing IP-ADDRESS with the public IP address of this server or its proxy: {host}. "
            "A IP-ADDRESS",
        )
    return f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]


def _read_text(response: httpx.Response) -> str:
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_PAGE_BYTES:
            break
    return body.decode("utf-8", "replace")


def _explain(error: Exception) -> str:
    is_late = isinstance(error, httpx.TimeoutException)
    text = str(error) or ("no response in time" if is_late else type(error).__name__)
    return text.partition("] ")[2].partition(" (_ssl")[0] or text


def _stays_here(examined: ExaminedInstallation) -> bool:
    return is_local_url(examined.settings.link_base)


def _if_public(examine: CheckFunction[ExaminedInstallation]) -> CheckFunction[ExaminedInstallation]:
    """Return a check that runs only if the website is public."""

    @wraps(examine)
    def examine_public_pages(examined: ExaminedInstallation) -> DoctorFindings:
        if not _stays_here(examined):
            yield from examine(examined)

    return examine_public_pages


@doctor_check("site-address", is_online=True)
def check_site_address(examined: ExaminedInstallation) -> DoctorFindings:
    """The base URL's host is in DNS and serves these pages."""
    if _stays_here(examined):
        yield report_ok("links work only on this machine")
        return
    base, name = examined.settings.link_base, examined.settings.file.publication.name
    remedy = (
        f"Point {urlsplit(base).hostname} (in DNS) to this server or its proxy, and configure the proxy to "
        "pass on all its paths."
    )
    try:
        alive, home = _visit(examined, "/healthz"), _visit(examined, "/")
    except SiteError as exc:
        yield report_unexamined(exc.message, exc.remedy or remedy)
        return
    if alive.status != 200 or alive.text.strip() != "alive":
        yield report_error(f"The response from {base}/healthz ({alive.status}) isn't from this program.", remedy)
    elif home.status != 200 or name not in home.text:
        yield report_error(f"The response from {base}/ ({home.status}) isn't the home page of {name}.", remedy)
    else:
        yield report_ok(f"{base} is {name}")


@doctor_check(
    "site-certificate",
    "Renew the certificate, and automate renewal (certbot renew).",
    is_online=True,
)
@_if_public
def check_site_certificate(examined: ExaminedInstallation) -> DoctorFindings:
    """The base URL's certificate is trusted and not about to expire."""
    host = urlsplit(examined.settings.link_base).hostname or ""
    try:
        valid_until = _visit(examined, "/healthz").valid_until
    except CertificateError:
        raise
    except SiteError:
        return  # `site-address` says why
    yield judge_certificate("", host, valid_until, examined.now)


@doctor_check(
    "site-sign-in",
    "Have the proxy pass on /desk/, /admin/, and /metrics without its own sign-in.",
    is_online=True,
)
@_if_public
def check_site_sign_in(examined: ExaminedInstallation) -> DoctorFindings:
    """Editors' pages, admin pages, and metrics require signing in."""
    home = _visit(examined, "/")
    for path in PRIVATE_PAGES:
        answer = _visit(examined, path)
        if answer.status in {401, 403} or "sign-in" in answer.headers.get("location", ""):
            yield report_ok(f"{path} requires a sign-in")
            continue
        # Another program may answer all paths alike.
        is_shown = answer.status < 300 and answer.text != home.text
        report = report_exposure if is_shown else report_error
        yield report(f"The page {path} responds with {answer.status} without requiring a sign-in.")


@doctor_check(
    "site-https",
    "Have the proxy pass on Strict-Transport-Security and redirect http to https, as 'digest setup' configures it.",
    is_online=True,
)
@_if_public
def check_site_https(examined: ExaminedInstallation) -> DoctorFindings:
    """The pages require https (HSTS), and http redirects to it."""
    base = urlsplit(examined.settings.link_base)
    header = _visit(examined, "/healthz").headers.get("strict-transport-security", "")
    seconds = header.partition("max-age=")[2].partition(";")[0].strip().strip('"')
    if not seconds.isdigit() or int(seconds) < MIN_HSTS_SECONDS:
        yield report_warning(
            f"The server {base.hostname} doesn't send Strict-Transport-Security with a max-age of at least six months."
        )
    else:
        yield report_ok(f"{base.hostname} is only served over https")
    if base.port is None:
        yield from _judge_plain_http(examined, base.hostname or "")


def _judge_plain_http(examined: ExaminedInstallation, host: str) -> DoctorFindings:
    try:
        answer = _visit(examined, "/", base=f"http://{host}")
    except SiteError:  # nothing is listening, which is just as good
        return
    if not answer.headers.get("location", "").startswith(f"https://{host}"):
        yield report_warning(f"The response from http://{host}/ ({answer.status}) doesn't redirect to https.")


@doctor_check(
    "site-one-click",
    "Have the proxy pass on requests to /u/… without redirects, challenges, or sign-in.",
    is_online=True,
)
@_if_public
def check_site_one_click(examined: ExaminedInstallation) -> DoctorFindings:
    """One-click unsubscribing (RFC 8058, section 3.2) works."""
    token = secrets.token_urlsafe(16)
    posted, opened = _visit(examined, f"/u/{token}", is_post=True), _visit(examined, f"/u/{token}")
    if token in opened.headers.get("location", "") + posted.headers.get("location", ""):
        yield report_exposure(
            "Subscriber links are redirected with their secret in the URL, where other servers may log it."
        )
    elif posted.status != 404:
        yield report_error(
            f"One-click unsubscribing fails. A POST request to /u/… got the response {posted.status} instead of "
            "404 (for a made-up link)."
        )
    else:
        yield report_ok("POST requests to /u/… work")


@doctor_check(
    "site-visitors",
    "Have each proxy add the client's IP address to X-Forwarded-For, as 'digest setup' configures it.",
    is_online=True,
)
@_if_public
def check_site_visitors(examined: ExaminedInstallation) -> DoctorFindings:
    """The proxies pass on visitors' IP addresses."""
    settings = examined.settings
    count, expected = _visit(examined, "/healthz").headers.get(FORWARDED_COUNT_HEADER, ""), settings.file.limits.proxies
    if not expected or not count.isdigit():
        return
    if int(count) < expected:
        yield report_error(
            f"X-Forwarded-For has {count_with_noun(int(count), 'entry', 'entries')} when a request arrives, but "
            f"limits.proxies is {expected}. Sign-up limits can't tell visitors apart."
        )
    elif int(count) > expected:
        yield report_warning(
            f"The doctor's own request passed through {count} proxies, but limits.proxies is {expected}. If visitors' requests do, "
            "too, all visitors seem to come from a proxy.",
            "Raise limits.proxies only if all these proxies are your own. Otherwise, visitors could forge the IP address "
            f"that sign-in limits rely on. {advise_key_change(settings, 'limits', f'proxies = {count}')}",
        )
    else:
        yield report_ok(f"X-Forwarded-For has {count_with_noun(expected, 'entry', 'entries')}, as limits.proxies says")


@doctor_check("site-clock", "Synchronize the clock: timedatectl set-ntp true", is_online=True)
@_if_public
def check_site_clock(examined: ExaminedInstallation) -> DoctorFindings:
    """This server's clock matches the base URL's."""
    date_header = _visit(examined, "/healthz").headers.get("date", "")
    try:
        difference = (parsedate_to_datetime(date_header) - examined.now).total_seconds()
    except (ValueError, TypeError):
        yield report_ok("the response has no Date to compare with")
        return
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        yield report_error(
            f"This server's clock differs from the Date of the response by {abs(difference):,.0f} seconds."
        )
    else:
        yield report_ok("the clock matches the Date of the response")

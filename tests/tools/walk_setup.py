"""Follow docs/setup.md as a new operator, from `digest setup` to the first edition: `python -m tests.tools.walk_setup DIGEST [WHEEL]`.

DIGEST is the program, best one that was installed from the wheel alone; of the WHEEL an image is built where docker runs. Everything is real and on this machine: PostgreSQL, a mail server
that keeps what it gets, `digest serve`, nginx with a certificate that signed itself, a sign-up form of another page. What a missing tool
leaves out is named in the last line.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from html import unescape
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import urljoin

import dkim
import httpx

from benchmarks.databases import fresh_database
from tests.conftest import ROOT, reserve_port
from tests.deliver.conftest import write_certificate
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server

WAIT_SECONDS = 120.0
SAMPLE_NOW = "2026-11-19T17:30"  # when the bundled sample's week is drafted
MOST_EXPOSURE = 2.0  # of `systemd-analyze security`, where 10 is unprotected
SUBSCRIBER, ADMIN = "reader@elsewhere.example", "you@harbor.example"
SAMPLE_FILES = (
    *("portwatch.xml", "harbor-safety.atom", "county-line.xml", "emergency-services.xml", "grid-and-water.atom"),
    *("perimeter.rdf", "preparedness.ics"),
)
Found = TypeVar("Found")


def main() -> None:
    """Walk all of it, and say how long it took and what was left out."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="digest-walk-", dir="/tmp") as name, ExitStack() as stack:
        walk = SetupWalk(str(Path(sys.argv[1]).absolute()), Path(name) / "srv", Path(name))
        walk.set_up(stack)
        walk.check_deployed_files()
        walk.serve(stack)
        walk.sign_in_as_admin()
        walk.sign_a_subscriber_up()
        walk.send_first_edition()
        walk.leave_by_one_click()
        walk.check_logs()
        walk.run("backup", str(walk.scratch / "backup.zip"), DIGEST_BACKUP_PASSPHRASE="what nobody guesses")
        walk.check_container(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    print(
        f"walked docs/setup.md in {time.monotonic() - began:.0f} s; left out: {'; '.join(walk.left_out) or 'nothing'}"
    )


@dataclass
class SetupWalk:
    """One walk: the program, the installation's folder, a folder for all else, and what came on the way."""

    digest: str
    folder: Path
    scratch: Path
    mail: RecordingHandler = field(default_factory=RecordingHandler)
    left_out: list[str] = field(default_factory=list)
    steps: str = ""  # as `digest setup` printed them
    base_url: str = ""
    page_port: int = 0
    nginx_port: int = 0
    has_nginx: bool = field(default_factory=lambda: shutil.which("nginx") is not None)
    client: httpx.Client = field(default_factory=httpx.Client)
    secret_words: list[str] = field(default_factory=list)  # tokens of links, which no log may hold

    def run(self, *words: str, ok: tuple[int, ...] = (0,), **variables: str) -> str:
        """Run a command of the program in the installation's folder; return what it printed."""
        environ = bare_environment() | variables
        done = subprocess.run(
            [self.digest, *words], cwd=self.folder, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode in ok, f"digest {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def set_up(self, stack: ExitStack) -> None:
        """Answer as docs/setup.md does, but for what is another one on this machine."""
        self.folder.mkdir()
        mail_port = stack.enter_context(run_smtp_server(self.mail))
        self.page_port, self.nginx_port = (stack.enter_context(reserve_port()) for _ in range(2))
        self.base_url = f"https://127.0.0.1:{self.nginx_port}"
        (answers,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "setup.md").read_text("utf-8"), re.DOTALL)
        for key, value in {
            "base_url": self.base_url,
            "smtp_host": "127.0.0.1",
            "smtp_port": mail_port,
            "database": stack.enter_context(fresh_database("postgresql", self.folder)),
            "subscribers": 0,
        }.items():
            answers = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value!r}", answers)
        file = self.scratch / "answers.toml"
        file.write_text(answers, "utf-8")
        file.chmod(0o600)
        printed = self.run("setup", "--batch", "--answers", str(file))
        self.steps = printed.partition("Next steps:")[2]

    def check_deployed_files(self) -> None:
        """Have each tool that is there look at the file that is for it."""
        deploy = self.folder / "deploy"
        if shutil.which("systemd-analyze"):
            unit = str(deploy / "digest.service")
            subprocess.run(["systemd-analyze", "verify", unit], check=True, capture_output=True)
            said = self._tool("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
            exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
            assert exposure, said
            assert float(exposure[1]) <= MOST_EXPOSURE, said
        else:
            self.left_out.append("systemd-analyze")
        if shutil.which("caddy"):
            self._tool("caddy", "validate", "--adapter", "caddyfile", "--config", str(deploy / "Caddyfile"))
        else:
            self.left_out.append("caddy")
        if self._can("docker", "compose", "version"):
            self._tool("docker", "compose", "--file", str(deploy / "compose.yaml"), "config", "--quiet")
        else:
            self.left_out.append("docker compose")

    def check_container(self, wheel: Path | None) -> None:
        """Build the image as the step says, and have it look at an installation of its own, as closed in as compose.yaml has it."""
        if why := self._find_container_hindrance(wheel):
            self.left_out.append(why)
            return
        assert wheel is not None
        folder, image = self.scratch / "contained", f"digest-walk-{os.getpid()}"
        answers = self.scratch / "contained.toml"
        text = re.sub(r"(?m)^database = .*$", 'database = "sqlite"', (self.scratch / "answers.toml").read_text("utf-8"))
        answers.touch(mode=0o600)
        answers.write_text(text, "utf-8")
        printed = self.run("setup", "--folder", str(folder), "--batch", "--answers", str(answers))
        (owner,) = re.findall(rf"chown -R (\d+:\d+) {re.escape(str(folder))}", printed)
        self._tool("chown", "-R", owner, str(folder))
        self.scratch.chmod(0o755)  # whoever works in the container has to pass through it
        shutil.copy(wheel, folder / "deploy")
        self._tool("docker", "build", "--tag", image, "--file", f"{folder}/deploy/Containerfile", f"{folder}/deploy")
        try:
            assert "digest" in self._tool("docker", "run", "--rm", image, "--version")
            start = ("docker", "run", "--rm", "--volume", f"{folder}:{folder}")
            # With root's capabilities: whether the files are there, not who may read them.
            if not self._can(*start, "--user", "0:0", "--entrypoint", "ls", image, f"{folder}/digest.toml"):
                self.left_out.append("an installation in docker, whose daemon does not see this machine's files")
                return
            closed = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")
            command = [*start, *closed, image, "doctor", "--json"]
            looked = subprocess.run(command, capture_output=True, text=True, check=False)
            assert looked.returncode in {0, 1}, looked.stdout + looked.stderr
            levels = {finding["check"]: finding["level"] for finding in json.loads(looked.stdout)["findings"]}
            assert (levels["database"], levels["key-file"], levels["home-folder"]) == ("ok",) * 3, looked.stdout
        finally:
            subprocess.run(["docker", "image", "rm", "--force", image], capture_output=True, check=False)

    def _find_container_hindrance(self, wheel: Path | None) -> str:
        """Say why no image can be built here; empty where one can."""
        if not self._can("docker", "info"):
            return "docker"
        if wheel is None:
            return "docker: no WHEEL was named"
        base = re.findall(r"(?m)^FROM (\S+)$", (self.folder / "deploy" / "Containerfile").read_text("utf-8"))[0]
        if not self._can("docker", "pull", "--quiet", base):
            return f"docker: {base} cannot be had"
        if not self._can(
            "docker", "run", "--rm", base, "pip", "download", "--quiet", "--no-deps", "--dest", "/tmp", "click"
        ):
            return "docker: its containers reach no packages"
        return ""

    @staticmethod
    def _can(*command: str) -> bool:
        found = shutil.which(command[0])
        return bool(found) and subprocess.run(command, capture_output=True, check=False).returncode == 0

    @staticmethod
    def _tool(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def serve(self, stack: ExitStack) -> None:
        """Start the pages, and nginx with the written configuration before them."""
        log = stack.enter_context((self.scratch / "serve.log").open("w"))
        words = [self.digest, "serve", "--port", str(self.page_port)]
        stack.enter_context(run_process(words, self.folder, log))
        certificate = write_certificate(self.scratch / "certificate.pem")
        if self.has_nginx:
            configuration = self._write_nginx_configuration(certificate)
            self._check_first_part_of_nginx(configuration)
            self._tool("nginx", "-t", "-c", str(configuration))
            stack.enter_context(run_process(["nginx", "-c", str(configuration)], self.scratch, log))
            self.client = httpx.Client(base_url=self.base_url, verify=str(certificate), follow_redirects=True)
        else:
            self.left_out.append("nginx: the pages were asked without it")
            headers = {"X-Forwarded-For": "127.0.0.1"}
            url = f"http://127.0.0.1:{self.page_port}"
            self.client = httpx.Client(base_url=url, headers=headers, follow_redirects=True)
        stack.callback(self.client.close)

        def is_ready() -> bool | None:
            with suppress(httpx.TransportError):
                return self.client.get("/readyz").status_code == 200 or None
            return None

        wait_until(is_ready, "the pages")

    def _check_first_part_of_nginx(self, configuration: Path) -> None:
        """What certbot needs before there is a certificate is a configuration too, made by the line of the step."""
        (script,) = re.findall(r"sed '([^']+)' \S+/nginx\.conf", self.steps)
        file = self.scratch / "digest.conf"
        whole = file.read_text("utf-8")
        file.write_text(self._tool("sed", script, str(file)), "utf-8")
        self._tool("nginx", "-t", "-c", str(configuration))
        assert "acme-challenge" in file.read_text("utf-8")
        assert "ssl_certificate" not in file.read_text("utf-8")
        file.write_text(whole, "utf-8")

    def _write_nginx_configuration(self, certificate: Path) -> Path:
        """Put the written file into a main one of its own, with this machine's ports, certificate and folders."""
        text = (self.folder / "deploy" / "nginx.conf").read_text("utf-8")
        with reserve_port() as plain_port:
            replaced = {
                "listen [::]:80;": "",
                "listen [::]:443 ssl;": "",
                "listen 80;": f"listen 127.0.0.1:{plain_port};",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.nginx_port} ssl;",
                "/etc/letsencrypt/live/127.0.0.1/fullchain.pem": str(certificate),
                "/etc/letsencrypt/live/127.0.0.1/privkey.pem": str(certificate),
                "/var/log/nginx": str(self.scratch),
                "127.0.0.1:8025": f"127.0.0.1:{self.page_port}",
                "proxy_set_header Host $host;": "proxy_set_header Host $http_host;",  # with its port, which is not 443
            }
        for before, after in replaced.items():
            assert before in text, before
            text = text.replace(before, after)
        (self.scratch / "digest.conf").write_text(text, "utf-8")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "".join(f"{kind}_temp_path {self.scratch}/{kind};\n" for kind in kinds)
        user = "user root;\n" if os.geteuid() == 0 else ""
        main_file = self.scratch / "nginx.conf"
        main_file.write_text(
            f"{user}daemon off;\npid {self.scratch}/nginx.pid;\nerror_log {self.scratch}/nginx-error.log crit;\n"
            f"events {{}}\nhttp {{\n{places}include {self.scratch}/digest.conf;\n}}\n",
            "utf-8",
        )
        return main_file

    def sign_in_as_admin(self) -> None:
        """Take the operator on, prove the address by the invitation, and sign in by the printed link."""
        assert f'staff add {ADMIN} --role admin --name "YOUR NAME"' in self.steps
        self.run("staff", "add", ADMIN, "--role", "admin", "--name", "Sam Reyes")
        self.press_button(self.find_link(ADMIN, r"/staff/[\w-]+"))
        (link,) = re.findall(r"https://\S+/desk/link/\S+", self.run("staff", "link", ADMIN))
        self.press_button(link)
        assert self.client.get("/desk/").status_code == 200
        doctor = self.run("doctor", ok=(0, 1))
        assert not re.search(r"(?m)^error", doctor), doctor

    def sign_a_subscriber_up(self) -> None:
        """Fill in the form of another page, as docs/embedding.md gives it, and press the button of the mail."""
        form = re.findall(r"```html\n(<form.*?)```", (ROOT / "docs" / "embedding.md").read_text("utf-8"), re.DOTALL)[0]
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w*)"', form))
        elsewhere = {"Origin": "https://harbor.example", "Referer": "https://harbor.example/news"}
        answer = self.client.post("/subscribe", data={**fields, "email": SUBSCRIBER, "website": ""}, headers=elsewhere)
        assert answer.status_code == 200, answer.text
        self.press_button(self.find_link(SUBSCRIBER, r"/confirm/[\w-]+"))

    def send_first_edition(self) -> None:
        """Gather the bundled sample, draft, check, send a test, approve and send; look at what arrives."""
        sample = Path(__file__).parent.parent.parent / "digest" / "sample"
        self.run("collect", "--now", SAMPLE_NOW, *(str(sample / name) for name in SAMPLE_FILES))
        self.run("draft", "--now", SAMPLE_NOW)
        self.run("check", "current")
        self.run("send", "current", "--test")
        (mark,) = re.findall(r"digest approve \S+ ([0-9a-f]{7,})", self.run("approve", "current"))
        self.run("approve", "current", mark)
        self.run("send", "current", "--yes")
        raw = wait_until(lambda: self.find_message(SUBSCRIBER, b"List-Unsubscribe-Post:"), "the edition")
        (record,) = re.findall(r"_domainkey\.\S+ TXT (.*)", self.steps)
        text = record.replace('" "', "").strip('"').encode()
        assert dkim.verify(raw, dnsfunc=lambda *_, **__: text), "the printed DNS record does not fit the signature"

    def leave_by_one_click(self) -> None:
        """Leave as a mail program does it (RFC 8058)."""
        raw = self.find_message(SUBSCRIBER, b"List-Unsubscribe-Post:")
        assert raw is not None
        link = str(message_from_bytes(raw, policy=policy.default)["List-Unsubscribe"]).strip("<>")
        answer = self.client.post(self.path_of(link), data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200, answer.text
        assert "left" in (self.folder / "digest-data" / "left.log").read_text("utf-8")

    def check_logs(self) -> None:
        """No token of a link and no address stands in what nginx and the service wrote."""
        logs = [path for path in self.scratch.glob("*.log") if path.stat().st_size]
        if self.has_nginx:
            text = (self.scratch / "digest.log").read_text("utf-8")
            assert '"GET /confirm/***" 200' in text, text
            assert "127.0.0.0 [" in text, text
        for log in logs:
            text = log.read_text("utf-8")
            for word in (SUBSCRIBER, *self.secret_words):
                assert word not in text, f"{log.name}: {word}"

    def find_message(self, recipient: str, words: bytes) -> bytes | None:
        """Return the first message to somebody that holds some words."""
        messages = (raw for _, to, raw in self.mail.messages if to == [recipient] and words in raw)
        return next(messages, None)

    def find_link(self, recipient: str, path: str) -> str:
        """Return the first link of a form in the mails to somebody, once it has come."""

        def find() -> str | None:
            for _, to, raw in self.mail.messages:
                message = message_from_bytes(raw, policy=policy.default)
                body = message.get_body(("plain",))
                if to == [recipient] and body and (link := re.search(rf"https://\S*{path}", body.get_content())):
                    return link[0]
            return None

        return wait_until(find, f"a mail to {recipient} with {path}")

    def path_of(self, link: str) -> str:
        """Return a link without its host; it leads to the base URL of the answers."""
        assert link.startswith(self.base_url), link
        self.secret_words.append(link.rpartition("/")[2])
        return link.removeprefix(self.base_url)

    def press_button(self, link: str) -> None:
        """Open a page, and press its one button."""
        page = self.client.get(self.path_of(link))
        assert page.status_code == 200, page.text
        form = re.search(r'<form method="post"(?: action="([^"]*)")?.*?</form>', page.text, re.DOTALL)
        assert form, page.text
        fields = {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form[0])}
        where = urljoin(str(page.url), unescape(form[1] or ""))
        done = self.client.post(where, data=fields, headers={"Referer": str(page.url)})
        assert done.status_code == 200, done.text


def wait_until(find: Callable[[], Found | None], what: str) -> Found:
    """Ask until there is an answer, and return it."""
    end = time.monotonic() + WAIT_SECONDS
    while (found := find()) is None:
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)
    return found


def bare_environment() -> dict[str, str]:
    """Return the environment without what concerns an installation; where Python keeps no compiled modules, each command compiles anew."""
    left_out = ("DIGEST_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


@contextmanager
def run_process(command: list[str], folder: Path, log: IO[str]) -> Iterator[None]:
    """Run a process for as long as the block, and end it as a service manager does."""
    environ = bare_environment()
    process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=WAIT_SECONDS)


if __name__ == "__main__":
    main()

"""What is left to do after the files are written: the steps from there to the first edition, in their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from digest.app.setup.answers import SetupAnswers
from digest.app.setup.dns_records import list_dns_records
from digest.app.setup.plan import SYSTEM_USER, SetupPlan
from digest.deliver.compose.dkim import DkimSigner
from digest.settings import SETTINGS_FILE_NAME

# Both as nginx.conf has them.
CHALLENGE_FOLDER = "/var/www/html"
CERTIFICATE_MARK = "From here on the certificate is needed"


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One thing to do: what and why, and the lines to type or to enter elsewhere."""

    title: str
    lines: tuple[str, ...] = ()


def list_remaining_steps(plan: SetupPlan, signer: DkimSigner | None, problem: str = "") -> Sequence[SetupStep]:
    """Return the steps; `problem` says why keys and database are not there yet."""
    return tuple(_remaining_steps(plan, signer, problem))


def _remaining_steps(plan: SetupPlan, signer: DkimSigner | None, problem: str) -> Iterator[SetupStep]:
    answers, folder = plan.answers, plan.folder
    named = "" if plan.settings_file.name == SETTINGS_FILE_NAME else f" --settings {plan.settings_file.name}"
    digest = f"sudo -u {SYSTEM_USER} digest{named}"
    you = f"you@{answers.reply_to.rpartition('@')[2]}"
    if plan.overriding:
        names = ", ".join(plan.overriding)
        yield SetupStep(
            f"The environment of this terminal sets {names} to something else, and wins over digest.env: unset it."
        )
    if problem:
        yield SetupStep(f"Make keys and database: {problem}", (f"cd {folder} && digest{named} init",))
    yield SetupStep(
        "Put a copy of the key file into a safe, apart from the backups: without it nobody can read an address again.",
        (f"cat {plan.home / 'keys.json'}",),
    )
    if records := list_dns_records(answers, signer):
        lines = tuple(line for record in records for line in (f"; {record.note}", str(record)))
        yield SetupStep("Enter these records into the DNS, where they are not there yet.", lines)
    if answers.mail == "sendgrid":
        yield _sendgrid_step(answers)
    yield SetupStep(
        "Give the folder to a user of its own, and start the service.",
        (
            f"useradd --system --home-dir {folder} --shell /usr/sbin/nologin {SYSTEM_USER}",
            f"chown -R {SYSTEM_USER}: {folder}",
            f"cp {folder}/deploy/digest.service /etc/systemd/system/",
            "systemctl daemon-reload && systemctl enable --now digest",
        ),
    )
    yield _container_step(plan, digest)
    if answers.is_behind_proxy:
        yield _web_server_step(answers, folder)
    yield SetupStep(
        "Take yourself on as the first admin, with your own address, and sign in by the link that is printed. The link of the "
        "invitation that is mailed to you then proves the address.",
        (f"cd {folder}", f"{digest} staff add {you} --role admin", f"{digest} staff link {you}"),
    )
    yield SetupStep(
        "Let the program look for what would go wrong, here and, once the DNS knows the records, outside; mend what it names.",
        (f"{digest} doctor", f"{digest} doctor --online"),
    )
    if answers.mail == "smtp":
        yield SetupStep(
            "Have bounces and complaints read: give them a mailbox ([inbound], see docs/sending.md, What comes back)."
        )
    yield SetupStep(
        f"Put the sign-up form on your site: the lines of docs/embedding.md, with {answers.base_url} in them. Sign up yourself.",
        (f"{answers.base_url}/subscribe",),
    )
    if answers.readers:
        yield SetupStep(
            "Bring your readers in, with the evidence of their consent (docs/importing.md).",
            (f"{digest} subscribers import LIST.csv",),
        )
    yield SetupStep(
        "Make the first edition: name your own sources in digest.toml, in place of those of homeland-security news; gather, draft, "
        "look at it, mail it to yourself, approve it at the desk. It goes out at its release, at once where that is over.",
        (
            f"{digest} collect",
            f"{digest} draft",
            f"{digest} check current",
            f"{digest} send current --test",
            f"{answers.base_url}/desk/",
        ),
    )
    yield SetupStep(
        "Have a backup made every night: name a folder on another disk and a passphrase that you keep elsewhere, and set up again, "
        "so that the service may write there.",
        (
            "; digest.toml, in [backup]",
            'folder = "/backups/digest"',
            "; digest.env",
            "DIGEST_BACKUP_PASSPHRASE='…'",
            f"install -d -m 700 -o {SYSTEM_USER} /backups/digest && digest setup --folder {folder}",
        ),
    )


def _web_server_step(answers: SetupAnswers, folder: Path) -> SetupStep:
    return SetupStep(
        "Put a web server with a certificate before it. Either nginx: first its part for port 80 alone, by which certbot proves the name "
        "now and at each renewal, then all of it. Or Caddy, which gets the certificate by itself.",
        (
            "; nginx",
            f"install -d {CHALLENGE_FOLDER}",
            f"sed '/{CERTIFICATE_MARK}/,$d' {folder}/deploy/nginx.conf > /etc/nginx/conf.d/digest.conf && nginx -t && systemctl reload nginx",
            f"certbot certonly --webroot -w {CHALLENGE_FOLDER} -d {answers.host} --deploy-hook 'systemctl reload nginx'",
            f"cp {folder}/deploy/nginx.conf /etc/nginx/conf.d/digest.conf && nginx -t && systemctl reload nginx",
            "; Caddy",
            f"cp {folder}/deploy/Caddyfile /etc/caddy/Caddyfile && systemctl reload caddy",
        ),
    )


def _container_step(plan: SetupPlan, digest: str) -> SetupStep:
    deploy, (user, group) = plan.folder / "deploy", plan.container_user
    return SetupStep(
        "Or, in place of the step before, with containers and their PostgreSQL: copy the wheel beside the Containerfile, give the folder to "
        f"the containers' user, make the database, start. From then on type, in {deploy}, docker compose run --rm digest where these steps "
        f"say {digest}; files that a command reads lie in {plan.folder}.",
        (
            f"cp hls_digest-*.whl {deploy}/",
            f"chown -R {user}:{group} {plan.folder}",
            f"cd {deploy} && docker compose build && docker compose run --rm digest init && docker compose up -d",
        ),
    )


def _sendgrid_step(answers: SetupAnswers) -> SetupStep:
    return SetupStep(
        f"At SendGrid: authenticate the domain {answers.sender_domain} (it shows the CNAME records that the DNS must have), and set up the "
        "signed Event Webhook (docs/sending.md, What comes back); put its key into digest.env as DIGEST_SENDGRID_WEBHOOK_KEY.",
        (f"{answers.base_url}/hooks/sendgrid",),
    )

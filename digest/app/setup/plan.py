"""Planning the files of an installation from the answers.

They're computed from the answers and compared with existing files before any is written.
"""

import difflib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from digest.app.setup.answers import SetupAnswers, SetupError
from digest.deliver.providers.registry import load_provider_kinds
from digest.folder_owner import find_user_name
from digest.settings import Settings, SettingsFileContent, is_loopback
from digest.settings.environment_file import ENVIRONMENT_FILE_NAME, change_variables, parse_variables
from digest.settings.file_edits import edit_settings_text, replace_text_file
from digest.templating import create_jinja_environment

DKIM_KEY_NAME = "dkim.pem"
DKIM_SELECTOR = "digest"
PAGE_PORT = 8025
SYSTEM_USER = "digest"
# The user and group of the container if root owns the folder. No account needs to have this ID.
CONTAINER_USER = 10025
LOG_GROUP = "adm"  # on Debian-based systems
# Of the compose file's PostgreSQL on loopback, because 5432 may be in use on this machine.
DATABASE_PORT = 54320
DEPLOYED_FILES = ("digest.service", "nginx.conf", "Caddyfile", "Containerfile", "compose.yaml", "prometheus-rules.yml")
# Messages on the first day of a warm-up. Lists of up to twice as many subscribers have no caps.
FIRST_DAY = 500
# Multiples of the first day's messages, one for each day.
_WARM_UP_STEPS = (1, 2, 4, 10, 20, 40, 100, 200, 400, 1000, 2000)
_RSA_BITS = 2048  # RFC 8301, section 3.2
_SECRET_LINE = re.compile(
    r"^([ +-]?[A-Z_]*(?:PASSWORD|API_KEY|PASSPHRASE|WEBHOOK_KEY|TOKEN|SECRET)=).*|(://[^:@/\s]*:)[^@\s]*@"
)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file with its existing and new contents.

    The content of a key file is never shown.
    """

    path: Path
    before: str | None
    after: str = field(repr=False)
    mode: int = 0o644
    is_key: bool = False

    @property
    def change(self) -> Literal["new", "changed", "same"]:
        """The effect of writing the file: "new", "changed", or "same"."""
        if self.before is None:
            return "new"
        return "same" if self.before == self.after else "changed"

    def show_difference(self) -> Iterator[str]:
        """Yield the lines of a unified diff in which secrets are masked."""
        if self.is_key or self.before is None or self.before == self.after:
            return
        name = self.path.name
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), f"{name} (before)", f"{name} (after)", lineterm="", n=1
        )
        yield from (_SECRET_LINE.sub(_mask_secret, line) for line in lines)


@dataclass(frozen=True, slots=True)
class SetupPlan:
    """The files that a setup will write, and the answers that they're based on.

    `files` are in the order in which they're written.
    """

    folder: Path
    settings_file: Path
    answers: SetupAnswers
    files: tuple[PlannedFile, ...]
    overriding: tuple[str, ...]  # environment variables whose values differ from those in digest.env

    @property
    def home(self) -> Path:
        """The folder for the database and the keys."""
        return Path(self.variables["DIGEST_HOME"])

    @property
    def container_user(self) -> tuple[int, int]:
        """The user and group of the container.

        They're those of the folder's owner, unless that's root.
        """
        return choose_container_user(self.folder)

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables in the new digest.env."""
        return parse_variables(next(file.after for file in self.files if file.path.name == ENVIRONMENT_FILE_NAME))


def choose_container_user(folder: Path) -> tuple[int, int]:
    """Return the user and group of a container.

    They aren't root's, because without capabilities, root couldn't read other users' files in the
    folder.
    """
    owner = folder.stat()
    return (owner.st_uid, owner.st_gid) if owner.st_uid else (CONTAINER_USER, CONTAINER_USER)


def _mask_secret(match: re.Match[str]) -> str:
    return f"{match[1]}***" if match[1] else f"{match[2]}***@"


def plan_setup(
    folder: Path,
    settings_file: Path,
    answers: SetupAnswers,
    settings: Settings,
    environ: Mapping[str, str] = os.environ,
) -> SetupPlan:
    """Compute the content of every file of an installation.

    `settings` are those of the existing files.

    Raises:
        SetupError: the answers name a different database from the installation's.
        SettingsError: the settings file can't be changed as required.
    """
    _refuse_other_database(answers, settings)
    environment_file = settings_file.parent / ENVIRONMENT_FILE_NAME
    key_file = settings.dkim_key_file or folder / DKIM_KEY_NAME
    environment = _read(environment_file)
    home = settings.home if "home" in settings.model_fields_set else folder / "digest-data"
    variables = _list_variables(answers, settings, home, key_file)
    planned = [
        PlannedFile(settings_file, _read(settings_file), _edit_settings(settings_file, answers, settings)),
        PlannedFile(environment_file, environment, change_variables(environment or _HEAD, variables), 0o600),
    ]
    if answers.provider.signs_here and not key_file.exists():
        planned.append(PlannedFile(key_file, None, _generate_key(), 0o600, is_key=True))
    planned += _plan_deployment(folder, home, settings_file, answers, settings)
    overriding = tuple(name for name, value in variables.items() if environ.get(name, value) not in {value, ""})
    return SetupPlan(folder, settings_file, answers, tuple(planned), overriding)


_HEAD = (
    "# Paths and secrets of this installation, for every command and service that uses the digest.toml "
    "beside it.\n# Use NAME=value with quotes as in a shell. Environment variables of a process take "
    "precedence. Keep this file private (mode 0600).\n"
)


def _refuse_other_database(answers: SetupAnswers, settings: Settings) -> None:
    if answers.database == (settings.database_url or "sqlite"):
        return
    if settings.database_url or (settings.home / "digest.db").exists():
        raise SetupError(
            "This installation already has a database, and 'digest setup' can't move it. Run 'digest migrate --to "
            "URL' instead."
        )


def _list_variables(answers: SetupAnswers, settings: Settings, home: Path, key_file: Path) -> dict[str, str]:
    signs, provider = answers.provider.signs_here, dict(answers.provider)
    providers_variables = {
        variable: provider.get(key, "")
        for kind in load_provider_kinds()
        for key, variable in kind.questionnaire.variables().items()
    }
    return {
        "DIGEST_HOME": str(home.absolute()),
        "DIGEST_DATABASE_URL": "" if answers.database == "sqlite" else answers.database,
        "DIGEST_BASE_URL": answers.base_url,
        "DIGEST_MAIL_URL": _keep_url_options(answers.provider.mail_url, settings.mail_url.get_secret_value()),
        **providers_variables,
        "DIGEST_DKIM_DOMAIN": (settings.dkim_domain or answers.sender_domain) if signs else "",
        "DIGEST_DKIM_SELECTOR": (settings.dkim_selector or DKIM_SELECTOR) if signs else "",
        "DIGEST_DKIM_KEY_FILE": str(key_file.absolute()) if signs else "",
    }


def _keep_url_options(url: str, present: str) -> str:
    """Return the present URL if it differs only in its options, such as the number of connections.

    Otherwise, return `url`.
    """
    new_url, present_url = urlsplit(url), urlsplit(present)
    return (
        present
        if (new_url.scheme, new_url.netloc) == (present_url.scheme, present_url.netloc) and present_url.netloc
        else url
    )


def _edit_settings(file: Path, answers: SetupAnswers, settings: Settings) -> str:
    text = _read(file)
    if text is None:
        text = resources.files("digest").joinpath("shipped.toml").read_text("utf-8")
    sender: dict[str, Any] = {
        "name": answers.name,
        "address": answers.sender_address,
        "reply_to": answers.reply_to,
        "postal_address": answers.postal_address,
    }
    present = settings.file
    if present.sender.list_id == SettingsFileContent().sender.list_id:
        sender["list_id"] = f"weekly.{answers.sender_domain}"
    schedule = {"send": answers.release}
    if answers.release != present.schedule.send:
        schedule["draft"] = answers.draft
    limits: dict[str, Any] = {"proxies": max(present.limits.proxies, int(answers.is_behind_proxy))}
    if answers.provider.sends and not present.limits.warm_up and (caps := propose_warm_up(answers.subscribers)):
        limits["warm_up"] = caps
    publication = {key: getattr(answers, key) for key in ("name", "tagline", "about", "site", "timezone")}
    tables = {"publication": publication, "sender": sender, "schedule": schedule, "limits": limits}
    relay = {"log": _choose_log(answers, settings), "dkim_record": answers.provider.relay_dkim_record}
    tables |= {"heartbeats": {"nightly": answers.heartbeat}, "relay": relay}
    return edit_settings_text(settings, text, tables)


def _choose_log(answers: SetupAnswers, settings: Settings) -> str:
    """Return the mail server's log that the installation should follow.

    It's the journal if the mail server is on this machine and return paths identify emails.
    """
    is_here = answers.provider.sends and is_loopback(answers.provider.server_host)
    return settings.file.relay.log or ("journal" if is_here and settings.file.sender.bounce_domain else "")


def find_log_access_group(log: str) -> str:
    """Return the group that may read a log, but never root's.

    If the service doesn't need a group, return an empty string.
    """
    if log in {"", "journal"}:
        return log and "systemd-journal"
    try:
        if Path(log).stat().st_mode & stat.S_IROTH:
            return ""
        group = Path(log).group()
    except (OSError, KeyError):
        group = ""
    return group if group and group != "root" else LOG_GROUP


def propose_warm_up(subscribers: int) -> list[int]:
    """Return daily caps for a new sender, because mailbox providers reject large volumes from new senders.

    The caps end on the day that covers all subscribers. Small lists don't need any.
    """
    if subscribers <= 2 * FIRST_DAY:
        return []
    caps = [FIRST_DAY * step for step in _WARM_UP_STEPS]
    return caps[: next((day for day, cap in enumerate(caps) if cap >= subscribers), len(caps))]


def _plan_deployment(
    folder: Path, home: Path, settings_file: Path, answers: SetupAnswers, settings: Settings
) -> Iterator[PlannedFile]:
    """Plan the deployment files. Operators copy those that they need."""
    place = folder / "deploy"
    program = Path(sys.executable).parent / "digest"
    user_id, group_id = choose_container_user(folder)
    writable = [Path(settings.file.backup.folder)] if settings.file.backup.folder else []
    writable += [home.absolute()] if not home.absolute().is_relative_to(folder) else []
    facts = {
        "name": answers.name,
        "host": answers.host,
        "port": PAGE_PORT,
        "folder": folder,
        "also_writable": writable,
        "log_group": find_log_access_group(_choose_log(answers, settings)),
        "settings_file": settings_file,
        "program": program,
        "system_user": SYSTEM_USER,
        "database_port": DATABASE_PORT,
        "user_id": user_id,
        "group_id": group_id,
        "below_home": any(is_below_home(path) for path in (folder, program, *find_python_places())),
    }
    environment = create_jinja_environment(settings.templates)
    for name in DEPLOYED_FILES:
        text = environment.get_template(f"setup/{name}").render(facts)
        yield PlannedFile(place / name, _read(place / name), text)
    password_file = place / "postgresql.env"
    present = _read(password_file)
    database_url = (
        present.replace("@database/", f"@127.0.0.1:{DATABASE_PORT}/") if present else _make_database_variables()
    )
    yield PlannedFile(password_file, present, database_url, 0o600, is_key=True)


def find_python_places() -> tuple[Path, ...]:
    """Return the resolved paths of the Python executable and its library.

    A virtual environment links to them.
    """
    return Path(sys.executable).resolve(), Path(sys.base_prefix).resolve()


def find_locked_folder(installation: Path) -> Path | None:
    """Return the first folder on the way to this program or its Python that the service's user can't enter.

    The installation's folder is given to that user. If there's no such folder, return None.
    """
    places = (Path(sys.executable), *find_python_places())
    for folder in (folder for place in places for folder in reversed(place.parents)):
        is_own = folder.is_relative_to(installation) or find_user_name(folder.stat().st_uid) == SYSTEM_USER
        if not is_own and not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def is_below_home(path: Path) -> bool:
    """Return True if systemd's `ProtectHome=yes` hides a path (see systemd.exec(5))."""
    return any(path.is_relative_to(place) for place in ("/home", "/root", "/run/user"))


def _make_database_variables() -> str:
    password = secrets.token_urlsafe(24)
    return (
        "# The database of compose.yaml. If you change a password here, change it in the database "
        f"too.\nPOSTGRES_USER=digest\nPOSTGRES_DB=digest\nPOSTGRES_PASSWORD={password}\nDIGEST_DATABASE_URL=postgresql+psycopg://digest:{password}@127.0.0.1:{DATABASE_PORT}/digest\n"
    )


def _generate_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _read(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise SetupError(f"Can't read {file}: {reason}.") from exc


def write_planned_files(plan: SetupPlan) -> None:
    """Write the new and changed files, each atomically and with its final mode from the start.

    Raises:
        SetupError: a file can't be written; earlier ones are already written.
    """
    for planned in plan.files:
        if planned.change != "same":
            _write_file(planned)


def _write_file(planned: PlannedFile) -> None:
    try:
        planned.path.parent.mkdir(parents=True, exist_ok=True)
        replace_text_file(planned.path, planned.after, new_mode=planned.mode)
    except OSError as exc:
        raise SetupError(f"Can't write {planned.path}: {exc.strerror}.") from exc

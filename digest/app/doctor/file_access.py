"""Checks of who owns an installation's files and whether the service can write to them.

They don't need the database.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import make_url

from digest.app.doctor.check_registry import report_error, report_exposure, report_ok
from digest.deliver.providers.kind import DoctorFinding
from digest.folder_owner import find_user_name, is_writable
from digest.settings import Settings
from digest.settings.environment_file import ENVIRONMENT_FILE_NAME, find_exposure
from subscribers.english_text import join_words

OTHERS = 0o077  # the mode bits for all users except the owner
MAX_FILES_NAMED = 3


def find_service_user(settings: Settings) -> int:
    """Return the ID of the user that runs the service.

    It's the first owner of its files other than root, or else root.
    """
    folder = [settings.origin.absolute().parent] if settings.origin else []
    owners = (path.stat().st_uid for path in (*_list_files(settings), *folder) if path.exists())
    return next(filter(None, owners), 0)


def advise_write_access(settings: Settings, path: Path, mode: str) -> str:
    """Return the command that lets the service write to a path; `mode` is for `chmod`."""
    user = find_service_user(settings)
    if path.stat().st_uid != user:
        return f"Run as root: chown {find_user_name(user)} {path} && chmod {mode} {path}"
    return f"Run: chmod {mode} {path}"


def judge_file_access(settings: Settings) -> Iterator[DoctorFinding]:
    """Check who owns an installation's files and folders, and who can open and write to them."""
    if os.statvfs(settings.home).f_flag & os.ST_RDONLY:
        yield _report_read_only_disk(settings.home)
        return
    user = find_service_user(settings)
    paths = _list_files(settings)
    foreign = [path for path in paths if path.stat().st_uid != user]
    problems = [_report_owners(settings, foreign, find_user_name(user))] if foreign else []
    for path in paths:
        if path not in foreign:
            if path in _list_folders(settings) and not path.is_dir():
                problems.append(report_error(f"{path} isn't a folder.", f"Run: rm {path}"))
                continue
            problems += _find_problems(path, user, is_database=path in _list_database_files(settings))
    yield from problems
    if not problems:
        yield report_ok(f"{settings.home} is writable by its owner only")


def _list_files(settings: Settings) -> Sequence[Path]:
    files = (settings.key_file, *_list_database_files(settings), settings.left_log)
    environment_file = [settings.origin.absolute().with_name(ENVIRONMENT_FILE_NAME)] if settings.origin else []
    # `Path.exists` would fail below a folder that this process can't enter.
    found = [path for path in (*_list_folders(settings), *files, *environment_file) if os.access(path, os.F_OK)]
    # If there's a folder where a file should be, the check of that file reports it.
    return [path for path in found if path in _list_folders(settings) or not path.is_dir()]


def _list_folders(settings: Settings) -> Sequence[Path]:
    return (settings.home, settings.outbox_folder, settings.uploads_folder, settings.runs_folder)


def _list_database_files(settings: Settings) -> Sequence[Path]:
    url = make_url(settings.effective_database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return ()
    return tuple(Path(url.database + suffix) for suffix in ("", "-wal", "-shm"))


def _report_read_only_disk(home: Path) -> DoctorFinding:
    mount = next(folder for folder in (home.absolute(), *home.absolute().parents) if os.path.ismount(folder))
    return report_error(
        f"The disk with {home} is mounted read-only, so nothing can be saved.",
        f"Check the kernel's log for disk errors. Then run as root: mount -o remount,rw {mount}",
    )


def _report_owners(settings: Settings, foreign: Sequence[Path], user: str) -> DoctorFinding:
    home = settings.home.absolute()
    shown = [home] if settings.home in foreign else foreign[:MAX_FILES_NAMED]
    names = join_words([*map(str, shown)], more=0 if settings.home in foreign else len(foreign) - len(shown))
    owner = find_user_name(foreign[0].stat().st_uid)
    outside = [path for path in foreign if not path.absolute().is_relative_to(home)]
    spec = user if user.isdecimal() else f"{user}:"  # an ID without an account has no login group
    commands = [f"chown -R {spec} {home}"] if len(outside) < len(foreign) else []
    commands += [f"chown {spec} {path}" for path in outside]
    return report_error(
        f"{owner} owns {names}, but the service runs as {user}, which can't use other users' files.",
        f"Run as root: {' && '.join(commands)}",
    )


def _find_problems(path: Path, user: int, *, is_database: bool) -> Iterator[DoctorFinding]:
    mode, bits = stat.S_IMODE(path.stat().st_mode), 700 if path.is_dir() else 600
    if path.is_dir():
        is_usable = is_writable(path) and os.access(path, os.X_OK)
    elif path.name == ENVIRONMENT_FILE_NAME:
        is_usable = bool(mode & stat.S_IRUSR)
    else:
        is_usable = not is_database or is_writable(path)  # other files have checks of their own
    if path.name == ENVIRONMENT_FILE_NAME and (exposure := find_exposure(path)):
        yield report_exposure(exposure.message, exposure.remedy)
    elif not is_usable and os.geteuid() not in {0, user}:
        owner = find_user_name(user)
        yield report_error(
            f"{path} belongs to {owner}, so you can't write to it.", f"Run 'digest doctor' as root or as {owner}."
        )
    elif not is_usable:
        effect = ", so nothing can be saved" if is_database else ""
        use = "read" if path.name == ENVIRONMENT_FILE_NAME else "write to"
        yield report_error(
            f"Can't {use} {path} (owner {find_user_name(user)}, mode {mode:04o}){effect}.",
            f"Run: chmod {bits} {path}",
        )
    elif path.is_dir() and mode & OTHERS:
        yield report_exposure(f"Other users can open {path} (mode {mode:04o}).", f"Run: chmod 700 {path}")

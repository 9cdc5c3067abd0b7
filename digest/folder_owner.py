"""Switching from root to the owner of the installation's folder.

The service can then use the files that a command creates there.
"""

import errno
import os
import pwd
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from subscribers.errors import ApplicationError

PROGRAM_FILES = (sys.executable, os.__file__, __file__)  # the interpreter, its library, and this program


class FolderOwnerError(ApplicationError):
    """Raised when root can't continue as the owner of a folder.

    The message says which command to run instead.
    """


def find_user_name(user_id: int) -> str:
    """Return the name of the account that has a user ID, or the ID as text if there's none."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def is_writable(path: Path) -> bool:
    """Return True if both this process and the owner of a path can write to it.

    Root can write everywhere, so a check of the process alone would miss that the owner can't
    write.
    """
    return os.access(path, os.W_OK) and bool(path.stat().st_mode & stat.S_IWUSR)


def advise_access(path: Path) -> str:
    """Return how this process's user can get access to a file or folder that exists but can't be opened."""
    path, user = path.absolute(), find_user_name(os.geteuid())
    if any(not os.access(folder, os.X_OK) for folder in path.parents):
        return f"Move {path} to a folder that {user} can enter."
    status = path.stat()
    if status.st_uid == os.geteuid():
        return f"Run: chmod u+rwX {path}"
    if status.st_uid:
        return f"Run the command as {find_user_name(status.st_uid)}, who owns {path}."
    return f"If the service runs as {user}, run as root: chown {'-R ' if path.is_dir() else ''}{user} {path}"


@dataclass(frozen=True, slots=True)
class FolderOwner:
    """The user that a process continues as, and the user's groups.

    `home` is the user's home folder.
    """

    name: str
    user_id: int
    group_id: int
    group_ids: list[int]
    home: str
    has_account: bool

    @property
    def command(self) -> str:
        """A command line that runs `digest COMMAND` as this user."""
        if self.has_account:
            return f"{'sudo' if shutil.which('sudo') else 'runuser'} -u {self.name} -- digest COMMAND"
        ids = f"--reuid {self.user_id} --regid {self.group_id}"  # neither sudo nor runuser accepts a number alone
        return f"setpriv {ids} --clear-groups -- digest COMMAND"


def _look_up_owner(status: os.stat_result, folder: Path) -> FolderOwner:
    """Return the user who owns a folder, with the user's groups and home folder.

    If the owner has no account, the group is the folder's, and the home folder is the folder
    itself.
    """
    user, group = status.st_uid, status.st_gid
    try:
        account = pwd.getpwuid(user)
    except KeyError:  # such as the user of a container
        home = str(folder.absolute())
        return FolderOwner(str(user), user, group, [group], home, has_account=False)
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return FolderOwner(account.pw_name, user, account.pw_gid, groups, account.pw_dir, has_account=True)


def continue_as_owner(folder: Path) -> str | None:
    """Switch this process permanently from root to the owner of a folder, and return the owner's name.

    Return None if the process isn't run by root, or if root owns the folder. If the folder doesn't
    exist yet, the owner is that of its nearest existing parent. HOME changes to the owner's. USER
    and LOGNAME don't change, so `terminal:USER` in the audit log still names the person who typed
    the command.

    Raises:
        FolderOwnerError: the system doesn't allow the switch, or the owner can't read this program.
    """
    if os.geteuid() != 0:
        return None
    status = next(place.stat() for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if status.st_uid == 0:
        return None
    owner = _look_up_owner(status, folder)
    try:
        _check_readability(owner, folder)
        _become(owner)
    except OSError as exc:
        if exc.errno not in {errno.EPERM, errno.EINVAL}:  # EINVAL: the ID isn't mapped in this container
            raise
        raise FolderOwnerError(
            f"{folder} belongs to {owner.name}, and root can't continue as another user here.",
            remedy=(
                f"Run the command as user {owner.user_id} from the start. In a container, set its user option, such as "
                f"--user {owner.user_id}:{owner.group_id}. Elsewhere: {owner.command}."
            ),
        ) from exc
    return owner.name


def _check_readability(owner: FolderOwner, folder: Path) -> None:
    """Raise `FolderOwnerError` unless the owner can read this program without root's groups."""
    groups = os.getgroups()
    try:
        os.setgroups(owner.group_ids)
        os.setegid(owner.group_id)
        os.seteuid(owner.user_id)
        unreadable = [file for file in PROGRAM_FILES if not os.access(file, os.R_OK, effective_ids=True)]
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    if unreadable:
        raise FolderOwnerError(
            f"{folder} belongs to {owner.name}, who can't read {unreadable[0]}, so the service can't run as that user.",
            remedy=(
                "Install Python and this program where every user can read them. Then run the command as the folder's "
                f"owner: {owner.command}."
            ),
        )


def _become(owner: FolderOwner) -> None:
    """Switch to the owner's user ID, groups, and home folder."""
    os.setgroups(owner.group_ids)
    os.setgid(owner.group_id)
    os.setuid(owner.user_id)
    os.environ["HOME"] = owner.home

"""Whose an installation's folder is: what root runs there goes on as its owner, or the service couldn't use the new files."""

import os
import pwd
import shutil
import sys
from pathlib import Path

from subscribers.errors import ApplicationError

PROGRAM_FILES = (sys.executable, os.__file__, __file__)  # of Python, its library, and this program


class FolderOwnerError(ApplicationError):
    """Root can't continue as the owner of a folder; the message says which command to run instead."""


def name_user(user_id: int) -> str:
    """Return a user's name, or its number if it has no account."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def continue_as_owner(folder: Path) -> str | None:
    """Have this process of root's continue for good as the owner of a folder, and return the owner's name; None if it's root's.

    Other users' processes go on as they are. A folder that doesn't exist yet will be its parent folder's owner's.

    Raises:
        FolderOwnerError: the system doesn't allow it, or the owner can't read this program.
    """
    if os.geteuid() != 0:
        return None
    owner = next(place.stat() for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if owner.st_uid == 0:
        return None
    name = name_user(owner.st_uid)
    try:
        _check_readability(owner, folder, name)
        _become(owner, name)
    except PermissionError as exc:
        raise FolderOwnerError(
            f"{folder} belongs to {name}, and root can't continue as another user here.",
            remedy=f"Run the command as that user: {_name_tool()} -u {name} -- digest COMMAND.",
        ) from exc
    return name


def _name_tool() -> str:
    return "sudo" if shutil.which("sudo") else "runuser"


def _check_readability(owner: os.stat_result, folder: Path, name: str) -> None:
    """Look at this program as the owner would, without root's groups.

    Raises:
        FolderOwnerError: a file of it can't be read.
    """
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        unreadable = [file for file in PROGRAM_FILES if not os.access(file, os.R_OK, effective_ids=True)]
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    if unreadable:
        raise FolderOwnerError(
            f"{folder} belongs to {name}, who can't read {unreadable[0]}, so the service can't run either.",
            remedy=(
                "Install Python and this program where every user can read them. Then run the command as that user: "
                f"{_name_tool()} -u {name} -- digest COMMAND."
            ),
        )


def _become(owner: os.stat_result, name: str) -> None:
    """Take a user's ID, groups, and home folder."""
    try:
        account = pwd.getpwuid(owner.st_uid)
    except KeyError:  # such as the user of a container
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
    else:
        os.initgroups(name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.environ["HOME"] = account.pw_dir
    os.setuid(owner.st_uid)

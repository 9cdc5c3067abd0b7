"""Moving an installation into another database, by an admin: in one command, with proof."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from digest.backups.archive import RowProgress
from digest.backups.migration import MigrationResult, move_database, parse_target_url
from digest.installation.acts import Act, Actor, Role
from digest.installation.opened import Installation, open_installation
from digest.settings import SETTINGS_FILE_NAME, Settings
from digest.settings.concerns import Concern
from digest.settings.environment_file import ENVIRONMENT_FILE_NAME, change_variables
from digest.settings.file_edits import replace_text_file

MOVE = Act("moved to another database", Role.ADMIN, Concern.BACKUPS)
_VARIABLE = "DIGEST_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class DatabaseMove:
    """What was moved, and the digest.env that names the new database now; None: the operator has to set the variable."""

    result: MigrationResult
    environment_file: Path | None


def migrate_installation(
    settings: Settings,
    find_actor: Callable[[Installation], Actor],
    url: str,
    *,
    environ: Mapping[str, str],
    now: datetime,
    progress: RowProgress = lambda *_: None,
) -> DatabaseMove:
    """Move everything into the empty database of a URL, prove it, hold the old one, and name the new one in digest.env.

    Raises:
        NotPermittedError: the actor is no admin.
        BackupError: it cannot be done; nothing has changed.
    """
    target = parse_target_url(url)
    with open_installation(settings) as installation:
        actor = find_actor(installation)
        # The email to admins is queued before: it moves too, and leaves from the new database.
        with MOVE.transaction(installation, actor, "installation", now=now) as (_, draft):
            draft.recorded = True  # in the new database, when that is proved
        keys = installation.keys
    result = move_database(settings.effective_database_url, target, keys, actor=actor.name, now=now, progress=progress)
    file = (settings.origin or Path(SETTINGS_FILE_NAME)).parent / ENVIRONMENT_FILE_NAME
    if not file.exists() or environ.get(_VARIABLE):
        return DatabaseMove(result, None)
    wanted = {_VARIABLE: target.render_as_string(hide_password=False)}
    replace_text_file(file, change_variables(file.read_text("utf-8"), wanted))
    return DatabaseMove(result, file)

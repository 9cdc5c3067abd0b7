"""Templates of the operator's own: copied from the shipped ones, and looked at before they are used."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings.affected_areas import AffectedArea
from digest.templating import find_template_folder
from subscribers.errors import ApplicationError

COPY = Action("template copied", Role.ADMIN, AffectedArea.NONE)


class TemplateCopyError(ApplicationError):
    """A template cannot be copied; the message says what to do."""


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """A shipped template: its name below the folder of templates, and whether a file of the operator's own replaces it."""

    name: str
    is_replaced: bool


def list_shipped_templates(installation: Installation) -> Iterator[TemplateFile]:
    """List the shipped templates, by name."""
    shipped, own = find_template_folder(), installation.settings.templates
    for path in sorted(path for path in shipped.rglob("*") if path.is_file()):
        name = path.relative_to(shipped).as_posix()
        yield TemplateFile(name, own is not None and (own / name).is_file())


def copy_shipped_templates(installation: Installation, actor: Actor, name: str, *, now: datetime) -> list[Path]:
    """Copy a shipped template, or all of a folder of them, to where the operator's own are looked for; return the copies.

    Raises:
        TemplateCopyError: there is no folder for them, no such template, or a file stands where a copy would.
    """
    own, shipped = installation.settings.templates, find_template_folder()
    with COPY.steps(installation, actor, name, now=now) as audit:
        if own is None:
            raise TemplateCopyError("There's no folder for custom templates. Set DIGEST_TEMPLATES to one.")
        names = _list_names(shipped, name)
        if existing_copies := [str(own / template_name) for template_name in names if (own / template_name).exists()]:
            raise TemplateCopyError(
                f"{existing_copies[0]} already exists. To copy the template again, move or rename the "
                "existing file first."
            )
        copies = [own / template_name for template_name in names]
        for template_name, copy in zip(names, copies, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((shipped / template_name).read_bytes())
        audit.changed, audit.detail = True, {"files": len(copies)}
    return copies


def _list_names(shipped: Path, name: str) -> list[str]:
    """Name the shipped files that `name` stands for: one, or all below a folder."""
    template_path = (shipped / name).resolve()
    if (
        not template_path.is_relative_to(shipped.resolve())
        or not template_path.exists()
        or template_path == shipped.resolve()
    ):
        raise TemplateCopyError(f"There's no template {name}. To list the templates, run 'digest templates list'.")
    files = (
        [template_path]
        if template_path.is_file()
        else sorted(path for path in template_path.rglob("*") if path.is_file())
    )
    return [file.relative_to(shipped.resolve()).as_posix() for file in files]

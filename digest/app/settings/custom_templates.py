"""The operator's custom templates, copied from the built-in ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.templating import find_template_folder
from subscribers.errors import ApplicationError

COPY = Action("template copied")


class TemplateCopyError(ApplicationError):
    """Raised if a template can't be copied.

    The message says what to do.
    """


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """A built-in template, and whether a custom one replaces it.

    `name` is relative to the template folder. `is_replaced` is True if a custom template overrides
    the built-in one.
    """

    name: str
    is_replaced: bool


def list_shipped_templates(installation: Installation) -> Iterator[TemplateFile]:
    """Yield the built-in templates, sorted by name."""
    shipped, own = find_template_folder(), installation.settings.templates
    for path in sorted(path for path in shipped.rglob("*") if path.is_file()):
        name = path.relative_to(shipped).as_posix()
        yield TemplateFile(name, own is not None and (own / name).is_file())


def copy_shipped_templates(installation: Installation, actor: Actor, name: str, *, now: datetime) -> list[Path]:
    """Copy a built-in template, or a folder of them, to the custom template folder.

    Return the paths of the copies.

    Raises:
        TemplateCopyError: no folder for custom templates is set, there's no such template, or a
            copy would overwrite a file.
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
    """Return the names of the built-in files that `name` selects.

    It selects a single file, or all files in a folder.
    """
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

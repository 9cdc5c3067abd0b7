"""Where templates are found, and the one way a Jinja environment is made."""

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, select_autoescape


def find_template_folder() -> Path:
    """Return the shipped templates: inside the installed package, else beside it in a checkout."""
    packaged = Path(__file__).parent / "templates"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "templates"


def create_jinja_environment(operator_folder: Path | None = None) -> Environment:
    """Make an environment that escapes HTML, refuses unknown names and looks at `operator_folder` first."""
    loaders = [
        FileSystemLoader(place) for place in ([operator_folder] if operator_folder else []) + [find_template_folder()]
    ]
    return Environment(
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        autoescape=select_autoescape(enabled_extensions=("html",), default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

"""The `digest` command, which is the group of all commands in this package.

Each command is imported when it's run.
"""

import atexit
import gc
import logging

import click

from digest import __version__
from digest.cli.context import context_options
from digest.cli.lazy_group import ErrorReportingGroup

COMMAND_PLACES = {
    **dict.fromkeys(("init", "doctor", "serve"), "digest.cli.upkeep.installation"),
    **dict.fromkeys(("draft", "show", "check", "approve"), "digest.cli.editions.group"),
    "breaking-news": "digest.cli.editions.group:draft_breaking_news",
    **dict.fromkeys(("pause", "resume", "cancel"), "digest.cli.sending.control"),
    "set-aside": "digest.cli.sending.set_aside_domains:manage_set_aside_domains",
    "correct": "digest.cli.editions.correct",
    "audit": "digest.cli.upkeep.audit",
    "processing": "digest.cli.site:print_processing_record",
    **dict.fromkeys(("backup", "restore"), "digest.cli.upkeep.backup"),
    **{name: f"digest.cli.{name}" for name in ("calendar", "demo", "setup")},
    "media": "digest.cli.settings.media",
    "templates": "digest.cli.settings.custom_templates",
    **{name: f"digest.cli.sending.{name}" for name in ("inbound", "refused", "send", "status", "uncertain", "work")},
    "collect": "digest.cli.sources.collect",
    "keys": "digest.cli.upkeep.keys",
    "sources": "digest.cli.sources.group",
    "staff": "digest.cli.accounts",
    "editions": "digest.cli.sources.past_editions",
    "evaluate": "digest.cli.evaluation",
    **dict.fromkeys(("migrate", "upgrade"), "digest.cli.upkeep.migrate"),
    "subscribers": "digest.cli.subscribers.group",
}  # module names; the attribute has the command's name unless it's given


@click.group(
    cls=ErrorReportingGroup,
    command_places={name: place if ":" in place else f"{place}:{name}" for name, place in COMMAND_PLACES.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
The week:
  digest collect && digest draft --explain
  digest check current && digest serve        review and approve it
  digest send current
To try everything with sample data first: digest demo

\b
Exit codes:
  0  done
  1  refused or unfinished, or a check found errors
  2  wrong usage, or a problem to fix first
For a command's own codes, run: digest COMMAND --help""",
)
@click.version_option(__version__, prog_name="digest")
@context_options
def digest() -> None:
    """Collect articles, draft an edition, approve it, and send it as a newsletter."""


def main() -> None:
    """Run the `digest` command."""
    assert isinstance(digest, ErrorReportingGroup)
    digest.before_import, digest.after_import = _configure_logging, _spare_imported
    gc.disable()
    atexit.register(gc.freeze)  # a process that's ending needn't search all of its objects for cycles
    digest()


def _spare_imported() -> None:
    """Start the garbage collector, and exclude the objects of the imported modules from collection.

    Scanning them took a fifth of the startup time.
    """
    gc.freeze()
    gc.enable()


def _configure_logging() -> None:
    from digest import logs

    logs.configure_logging(logging.WARNING)  # commands print what they do; 'serve' logs more

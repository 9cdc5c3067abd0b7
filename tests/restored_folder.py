"""A folder that tests use in turn. Before each one, it's restored to its prepared state."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RestoredFolder:
    """A prepared folder, a second one with hard links to its files, and what stood in them, with their modes.

    A restored file is the same file by its number as well: a database in another file or at another path would be held as
    a copy (`digest.installation.copied_installation_guard`).
    """

    folder: Path
    links: Path
    contents: dict[Path, tuple[int, bytes]]

    def restore(self) -> None:
        """Give the files their modes and what stood in them, and the folder only these files."""
        for path, (mode, content) in self.contents.items():
            (self.links / path).chmod(mode)
            (self.links / path).write_bytes(content)
        for parent, names, _ in os.walk(self.folder):
            for folder in (Path(parent, name) for name in names):
                if not folder.is_symlink():
                    folder.chmod(0o700)  # a test may have locked it, and only root can remove a locked one
        shutil.rmtree(self.folder)
        shutil.copytree(self.links, self.folder, copy_function=os.link)


def keep_folder(folder: Path) -> RestoredFolder:
    """Keep a folder as it is now, to restore it later."""
    links = folder.with_name(f"{folder.name}-links")
    shutil.copytree(folder, links, copy_function=os.link)
    files = (path for path in links.rglob("*") if path.is_file())
    contents = {path.relative_to(links): (path.stat().st_mode & 0o777, path.read_bytes()) for path in files}
    return RestoredFolder(folder, links, contents)

"""Build the files of a release in a new folder: `make dist`.

It has the wheel, its software bill of materials (CycloneDX), manual pages, shell completion, and checksums of all of them
(`sha256sum --check SHA256SUMS`). The same commit gives the same bytes each time.
"""

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5
from zipfile import Path as ZipPath

from click.shell_completion import get_completion_class
from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from pip_requirements_parser import InstallRequirement, RequirementsFile

from build_version import ask_git
from digest.cli import digest
from tests.tools.manual_pages import list_contexts, name_page, write_page

ROOT = Path(__file__).parents[2]
CHECKSUMS = "SHA256SUMS"
COMPLETION_FILES = {"bash": "digest", "zsh": "_digest", "fish": "digest.fish"}  # as each shell looks for them


def build_release(folder: Path, checkout: Path = ROOT) -> None:
    """Build everything into a folder that doesn't exist yet.

    Raises:
        FileExistsError: it exists.
        subprocess.CalledProcessError: the wheel can't be built.
    """
    folder.mkdir(parents=True)
    wheel = build_wheel(checkout, folder)
    version = read_distribution(wheel).version
    at = datetime.fromtimestamp(int(ask_git(checkout, "log", "-1", "--format=%ct")), UTC)
    bill = write_bill(checkout / "requirements.txt", wheel, version, at)
    (folder / f"hls_digest-{version}.cdx.json").write_text(bill, "utf-8")
    manual = folder / "man" / "man1"
    manual.mkdir(parents=True)
    for context in list_contexts(digest, "digest"):
        (manual / f"{name_page(context)}.1").write_text(write_page(context, version), "utf-8")
    for shell, name in COMPLETION_FILES.items():
        file = folder / "completion" / shell / name
        file.parent.mkdir(parents=True)
        file.write_text(write_completion(shell), "utf-8")
    (folder / CHECKSUMS).write_text(write_checksums(folder), "utf-8")


def build_wheel(checkout: Path, folder: Path) -> Path:
    """Build the wheel of a checkout into a folder, and return it.

    Raises:
        subprocess.CalledProcessError: it can't be built.
    """
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(checkout)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    return wheel


def read_distribution(wheel: Path) -> Distribution:
    """Return the metadata of a wheel."""
    (info,) = (place for place in ZipPath(wheel).iterdir() if place.name.endswith(".dist-info"))
    return PathDistribution(info)


def write_bill(pins: Path, wheel: Path, version: str, at: datetime) -> str:
    """Return a wheel's bill of materials: the pinned libraries with the hashes of their files."""
    checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
    product = Component(
        name="hls-digest",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="hls-digest",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)],
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_OID, checksum))
    bom.metadata.component, bom.metadata.timestamp = product, at
    libraries = [_describe_library(pin) for pin in RequirementsFile.from_file(str(pins)).requirements]
    bom.components.update(libraries)
    bom.register_dependency(product, libraries)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _describe_library(pin: InstallRequirement) -> Component:
    """Describe a pinned library; one that only some systems need is optional."""
    version = pin.get_pinned_version
    url = PackageURL("pypi", name=pin.name, version=version)
    return Component(
        name=pin.name,
        version=version,
        purl=url,
        bom_ref=str(url),
        scope=ComponentScope.OPTIONAL if pin.marker else ComponentScope.REQUIRED,
        hashes=[HashTypeFactory().from_composite_str(option) for option in pin.hash_options],
    )


def write_completion(shell: str) -> str:
    """Return the script that completes the command's words in a shell."""
    complete = get_completion_class(shell)
    assert complete is not None
    return complete(digest, {}, "digest", "_DIGEST_COMPLETE").source()


def write_checksums(folder: Path) -> str:
    """Return the checksum of each file in a folder, as `sha256sum --check` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return "".join(f"{total}  {file.relative_to(folder)}\n" for total, file in zip(sums, files, strict=True))


if __name__ == "__main__":
    build_release(Path(sys.argv[1]))

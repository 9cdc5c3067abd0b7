"""Check the pinned dependencies against an advisory database: `make audit`, and a step of `.ci/run`.

Exits with 1 where one has a known vulnerability, with 2 where the audit itself is broken, and with 0 otherwise. Where no
source of advisories can be reached, it says AUDIT SKIPPED and exits with 0: a build must be possible without the internet.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
PINNED = ROOT / "requirements-dev.txt"  # with the product's own
SOURCE_VARIABLE = "AUDIT_SOURCE"  # the URL of another source that answers like OSV's query API, such as a mirror
CONNECT_TIMEOUT = 10  # seconds
TIMEOUT = 180  # seconds, for all lookups
_UNREACHABLE = re.compile(
    r"(?:requests|urllib3)\.exceptions|ConnectionError|ServiceError|HTTPError|Max retries exceeded"
)


def audit(requirements: Path, source: str) -> int:
    """Audit one requirements file with hashes, print what was found, and return the exit status."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--vulnerability-service",
            "osv",
            "--require-hashes",
            "--disable-pip",
        ]
        command += ["--requirement", str(requirements), "--format", "json", "--output", str(report)]
        command += [
            "--timeout",
            str(CONNECT_TIMEOUT),
            "--progress-spinner",
            "off",
            *(["--osv-url", source] if source else []),
        ]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            return _skip(f"no answer within {TIMEOUT} seconds")
        if report.exists():
            return _tell_findings(json.loads(report.read_text("utf-8"))["dependencies"])
    reason = run.stderr.strip().rpartition("\n")[2]
    if _UNREACHABLE.search(run.stderr):
        return _skip(reason)
    print(f"The audit failed: {reason}", file=sys.stderr)
    return 2


def _skip(reason: str) -> int:
    print(f"AUDIT SKIPPED: no source of advisories could be reached ({reason}). Run it again with internet access.")
    return 0


def _tell_findings(dependencies: list[dict[str, Any]]) -> int:
    found = [dependency for dependency in dependencies if dependency.get("vulns")]
    for dependency in found:
        for finding in dependency["vulns"]:
            fixed = ", ".join(finding["fix_versions"]) or "no release yet"
            print(f"VULNERABLE: {dependency['name']} {dependency['version']}: {finding['id']}; fixed in {fixed}")
    if found:
        print("SECURITY.md says how soon each must be replaced; 'make pins' pins new releases.")
    else:
        print(f"No known vulnerabilities in {len(dependencies)} pinned dependencies")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(audit(Path(sys.argv[1]) if len(sys.argv) > 1 else PINNED, os.environ.get(SOURCE_VARIABLE, "")))

"""The audit of the pinned dependencies fails on a vulnerability, and is clearly skipped without an advisory database."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.conftest import ROOT, reserve_port

PINNED = f"jinja2==3.1.6 --hash=sha256:{'0' * 64}\nflask==3.1.1 --hash=sha256:{'1' * 64}\n"
ADVISORY = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "summary": "A sandbox that leaks",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.7"}]}],
        }
    ],
}


def run_audit(folder: Path, source: str, pinned: str = PINNED) -> subprocess.CompletedProcess[str]:
    file = folder / "requirements.txt"
    file.write_text(pinned, "utf-8")
    command = [sys.executable, "-m", "tests.tools.audit_dependencies", str(file)]
    environ = os.environ | {"AUDIT_SOURCE": source}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def serve_advisories(server: HTTPServer, name: str) -> str:
    """Answer like the source: an advisory about one package, none about others."""

    def answer(request: Request) -> Response:
        asked = request.get_json(force=True)["package"]["name"]
        found = {"vulns": [ADVISORY]} if asked == name else {}
        return Response(json.dumps(found), mimetype="application/json")

    server.expect_request("/v1/query").respond_with_handler(answer)
    return server.url_for("/v1/query")


def test_a_known_vulnerability_fails_the_audit_by_name(tmp_path: Path, httpserver: HTTPServer) -> None:
    run = run_audit(tmp_path, serve_advisories(httpserver, "jinja2"))
    assert run.returncode == 1, run.stderr
    assert "VULNERABLE: jinja2 3.1.6: GHSA-aaaa-bbbb-cccc; fixed in 3.1.7" in run.stdout
    assert "flask" not in run.stdout


def test_without_a_vulnerability_the_audit_passes(tmp_path: Path, httpserver: HTTPServer) -> None:
    run = run_audit(tmp_path, serve_advisories(httpserver, "another"))
    assert run.returncode == 0, run.stderr
    assert run.stdout == "No known vulnerabilities in 2 pinned dependencies\n"
    assert len(httpserver.log) == 2


def test_without_a_source_the_audit_skips_loudly_and_soon(tmp_path: Path) -> None:
    began = monotonic()
    with reserve_port() as port:
        run = run_audit(tmp_path, f"http://127.0.0.1:{port}/v1/query")
    assert run.returncode == 0
    assert run.stdout.startswith("AUDIT SKIPPED: no source of advisories could be reached (")
    assert monotonic() - began < 60


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_source_that_refuses_is_no_source(tmp_path: Path, httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/v1/query").respond_with_data("no", status=status)
    run = run_audit(tmp_path, httpserver.url_for("/v1/query"))
    assert (run.returncode, run.stdout[:13]) == (0, "AUDIT SKIPPED")


def test_pins_that_cannot_be_read_are_no_reason_to_skip(tmp_path: Path, httpserver: HTTPServer) -> None:
    run = run_audit(tmp_path, serve_advisories(httpserver, "jinja2"), "jinja2==3.1.6\n")
    assert run.returncode == 2
    assert run.stderr.startswith("The audit failed: ")


def test_ci_runs_the_audit_and_repeats_at_its_end_that_it_was_skipped() -> None:
    ci = (ROOT / ".ci/run").read_text("utf-8")
    assert "make --no-print-directory audit" in ci
    assert re.search(r"AUDIT SKIPPED", ci.partition('step "done"')[2])
    assert "tests.tools.audit_dependencies" in (ROOT / "Makefile").read_text("utf-8")

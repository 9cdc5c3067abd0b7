# Every target builds its own environment first; nothing else has to be set up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo serve test test-postgresql lint types audit size bench soak pictures look messages settings pins wheel dist clean
help:            ## Show what can be made
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

# set_up PINS: an environment with the pinned packages, what builds packages, and this checkout. Python compiles a module
# at its first import, because most are never imported. `make demo` has an environment without the tests' packages.
BUILD_PINS := /^[a-z]/ { wanted = /^(editables|hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ } wanted
PIP := $(BIN)/pip --disable-pip-version-check --quiet --quiet install --no-compile
define set_up
	@echo "Setting up $(VENV) (once; a few minutes, or more on a slow machine)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@awk '$(BUILD_PINS)' requirements-dev.txt > $(VENV)/build-pins.txt
	@$(PIP) --no-deps --require-hashes --requirement $(1) --requirement $(VENV)/build-pins.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
endef

$(VENV)/.stamp: requirements-dev.txt pyproject.toml build_version.py
	$(call set_up,requirements-dev.txt)
	@touch $@ $(VENV)/.demo-stamp

$(VENV)/.demo-stamp: requirements.txt pyproject.toml build_version.py
	$(call set_up,requirements.txt)
	@touch $@

demo serve: export PYTHONDONTWRITEBYTECODE =
demo: $(VENV)/.demo-stamp  ## Run a whole week on the bundled sample, into ./digest-demo
	@$(BIN)/digest demo

serve: $(VENV)/.demo-stamp  ## Serve the desk on what 'make demo' made, and print links that sign you in as its editor and its admin
	@test -f digest-demo/digest.toml || { echo "Nothing to show yet: run 'make demo' first."; exit 1; }
	@DIGEST_HOME=digest-demo $(BIN)/digest --settings digest-demo/digest.toml serve --no-schedule --sign-in dana.reyes@news.example.org --sign-in ruth.adeyemi@news.example.org

# The tests start processes by the hundred; where Python keeps no compiled modules, each compiles the product anew.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.stamp  ## Run the tests that the tools of this machine allow
	@echo "Running the tests (some minutes; what needs a missing tool is named in the last line)"
	@$(BIN)/python -m pytest -q --numprocesses 4 --dist worksteal --durations 10

test-postgresql: export PYTHONDONTWRITEBYTECODE =
test-postgresql: $(VENV)/.stamp  ## Run the tests with every database on PostgreSQL; what is about SQLite itself is left out
	@echo "Running the tests on PostgreSQL (some minutes)"
	@DIGEST_TEST_DATABASE=postgresql $(BIN)/python -m pytest -q --numprocesses 4 --dist worksteal --durations 10

lint: $(VENV)/.stamp  ## Check style and form
	@$(BIN)/ruff check --output-format concise .
	@$(BIN)/ruff format --check --quiet .

types: $(VENV)/.stamp  ## Check types
	@$(BIN)/mypy

audit: $(VENV)/.stamp  ## Look the pinned dependencies up in a database of advisories (needs the internet)
	@$(BIN)/python -m tests.tools.audit_dependencies

size: $(VENV)/.stamp  ## Count the product's code by package, in tokens without comments, docstrings, and migrations
	@$(BIN)/python -m tests.tools.measure_code

bench: $(VENV)/.stamp  ## Measure speed, as ratios and against the bars
	@$(BIN)/python -m benchmarks.bench

soak: $(VENV)/.stamp  ## Kill large sends again and again, look at 10,000 messages, sign up from 10,000 networks, fuzz all parsers, draw 10,000 random sends, simulate eight years, drill an operator's work; writes benchmarks/soak.md
	@$(BIN)/python -m tests.soak.soak

pictures: $(VENV)/.stamp  ## Take the pictures of the README, docs/editors.md and docs/admins.md from the running product (needs Chromium)
	@$(BIN)/python -m tests.tools.take_screenshots

wheel: $(VENV)/.stamp  ## Build the wheel into ./dist, in place of older ones
	@rm -f dist/hls_digest-*.whl
	@$(BIN)/python -m build --no-isolation --wheel --outdir dist . >/dev/null
	@ls dist/*.whl

dist: $(VENV)/.stamp  ## Build a release into ./dist: the wheel, its SBOM, manual pages, shell completion, and checksums
	@rm -rf dist
	@$(BIN)/python -m tests.tools.build_release dist
	@cat dist/SHA256SUMS

look: $(VENV)/.stamp  ## Show the email in every form and in the installed email clients, and pages in other browsers, and measure them; pictures and a table go into ./look (needs Chromium)
	@$(BIN)/python -m tests.tools.look_harness

messages: $(VENV)/.stamp  ## Gather the messages for readers into the catalogs; what is new in one waits there for its translation
	@mkdir -p build
	@$(BIN)/pybabel -q extract -F pyproject.toml --omit-header --add-location file --sort-by-file --width 120 \
	  --add-comments "Translators:" --keywords mark_message -o build/digest.pot digest subscribers templates
	@$(BIN)/pybabel -q update --domain digest -i build/digest.pot -d digest/locale --width 120 --no-fuzzy-matching --ignore-obsolete
	@sed -i.old -e '/^"\(POT-Creation-Date\|PO-Revision-Date\|Last-Translator\|Language-Team\|Report-Msgid-Bugs-To\|Generated-By\):/d' digest/locale/*/LC_MESSAGES/digest.po
	@rm -f digest/locale/*/LC_MESSAGES/digest.po.old

settings: $(VENV)/.stamp  ## Write docs/settings.md, docs/commands.md, docs/doctor.md, and digest/shipped.toml from the texts in the code
	@$(BIN)/python -m tests.tools.write_settings
	@$(BIN)/python -m tests.tools.write_references

pins: $(VENV)/.stamp  ## Pin the dependencies anew, with hashes (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make pins' --upgrade --group dev pyproject.toml -o requirements-dev.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make pins' --constraint requirements-dev.txt pyproject.toml -o requirements.txt

clean:           ## Remove what was built here
	rm -rf $(VENV) dist digest-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

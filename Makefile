# Every target works on a fresh clone with Python 3.11 and make.
PYTHON ?= python3.11
BIN := .venv/bin
JOBS ?= 4
STAMP := .venv/.installed
PACKAGE := .venv/.package-installed
BUILT_FROM := pyproject.toml setup.py $(wildcard migrator/*/native/*.p*)

.PHONY: install demo test test-long check bench docs clean
install: $(STAMP)

$(STAMP): $(BUILT_FROM)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP) $(PACKAGE)

# The package with the embedding model of the demo; no test tools.
$(PACKAGE): $(BUILT_FROM)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local]'
	touch $(PACKAGE)

# Tests wait (for killed processes, retries, throttled runs): two cores are busy with four. Measured: 276 s, with three 300 s.
# Tests start many processes: without compiled modules each of them would compile what it imports.
test test-long: export PYTHONDONTWRITEBYTECODE :=

test: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist loadgroup

test-long: $(STAMP)
	$(BIN)/pytest -m long --timeout 7200

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	$(BIN)/python -m bench --out build/bench.json
	@if [ -n "$(BASE)" ]; then $(BIN)/python -m bench.results $(BASE) build/bench.json; fi

DEMO := $(BIN)/migrate
WITH := -c fixtures/demo-migrate.toml
QUESTION := The report is slow. How do I speed it up?
demo: $(PACKAGE)
	@rm -rf .migrate/demo
	@echo "== plan: predict the result (writes nothing)" && $(DEMO) plan -q $(WITH)
	@echo "== run" && $(DEMO) run $(WITH)
	@echo "== verify: rebuild every document from PostgreSQL and compare" && $(DEMO) verify -q --level roundtrip $(WITH)
	@echo "Explore: $(DEMO) psql $(WITH)     Undo: $(DEMO) revert $(WITH)"
	@echo "== results: conversations, accounting, a similarity query ($(QUESTION)), a full-text query"
	@$(DEMO) psql $(WITH) -- -q -v question="$$($(DEMO) embed $(WITH) --text "$(QUESTION)")" -f fixtures/demo-queries.sql

DOCS_STAMP := .venv/.docs-installed
docs: $(DOCS_STAMP)
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Documentation: build/site/index.html"

$(DOCS_STAMP): $(PACKAGE)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $(DOCS_STAMP)

clean:
	rm -rf .venv .migrate .mypy_cache .ruff_cache .pytest_cache .hypothesis

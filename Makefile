# Everything from nothing: each target makes what it needs. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test interop check fmt bench conformance fuzz soak chaos clean

run: $(VENV)/installed
	$(BIN)/trunkline serve

test: $(VENV)/developing
	tools/browser
	tools/node
	tools/servers
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/interop

# What others read of us and speak with us: programs that are heavy to install or to run.
interop: $(VENV)/developing
	tools/browser
	tools/node
	tools/servers
	tools/foreign
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/interop

check: $(VENV)/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	tools/types

fmt: $(VENV)/developing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/compare.py

conformance: $(VENV)/developing
	PYTHONPATH=. $(BIN)/python bench/conformance.py

# SECONDS for each parser.
SECONDS ?= 120
fuzz: $(VENV)/developing
	for target in frames inflate handshake commands positions names json tokens engineio socketio; do \
		$(BIN)/python -m tests.fuzz $$target $(SECONDS) || exit 1; \
	done
	TRUNKLINE_EXAMPLES=500 $(BIN)/python -m pytest tests/fuzz/test_openapi.py

soak: $(VENV)/developing
	$(BIN)/python bench/soak.py

# Everything fails, for ten minutes; SECONDS=60 for one.
chaos: SECONDS = 600
chaos: $(VENV)/developing
	tools/node
	tools/servers
	$(BIN)/python -m tests.chaos --seconds $(SECONDS)

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/developing: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) node_modules client/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis

# make run | test | lint | bench | chaos. Each sets up .venv on first use; nothing else is needed
# than Python 3.11 or newer, make and pip's package index.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= runs/fashion
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test lint bench chaos clean

run: $(VENV)/.installed
	$(BIN)/qlrjax run --out $(OUT)

test: $(VENV)/.developing
	$(BIN)/python -m pytest --numprocesses 2

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.developing
	$(BIN)/python -m pytest tests/bench/bench_*.py --benchmark-only --benchmark-columns=median,iqr,rounds

chaos: $(VENV)/.developing
	$(BIN)/python -m tests.chaos --kills 50

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "qlrjax needs Python 3.11 or newer; set PYTHON=python3.12, say"; exit 1; }
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV) && $(PIP) --upgrade 'pip>=25.1'; fi

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) (a minute or two, once)"
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable .; \
	else $(PIP) --constraint constraints.txt --editable .; fi
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --group dev; \
	else $(PIP) --constraint constraints.txt --group dev; fi
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis

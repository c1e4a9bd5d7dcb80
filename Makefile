# Every target sets up .venv on first use; nothing else is needed than Python 3.11 or newer, make
# and pip's package index. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= runs/fashion
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help run test long-test firmware-test fuzz lint docs wheel-test report-test cluster-test bench profile chaos \
  attack soak clean

help:
	@grep -B1 -E '^[a-z-]+:.*$$' $(MAKEFILE_LIST) | grep -E '^#' | sed 's/^# //'

# make run: learns the built-in photos into runs/fashion
run: $(VENV)/.installed
	$(BIN)/qlrjax run --out $(OUT)

# make test: the whole suite, under 10 minutes on 2 cores
test: $(VENV)/.developing
	$(BIN)/python -m pytest --numprocesses 2 --durations=12

# make long-test: what takes more than ten seconds a test: pages carried out, whole sessions, attacks; 15 minutes
long-test: $(VENV)/.developing
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal -m long --durations=12

# What the boards need; Debian's packages, installed where that is allowed and left alone elsewhere.
BOARD_PACKAGES := gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm qemu-system-misc \
  gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf clang cppcheck cmake
# make firmware-test: the firmware on emulated boards, its power failing, under analysers; 8 minutes
firmware-test: $(VENV)/.developing
	@if ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ]; then \
	  echo "not root on Debian: tests whose tools are missing are skipped"; \
	elif ! dpkg --status $(BOARD_PACKAGES) >/dev/null 2>&1; then \
	  apt-get update -qq; DEBIAN_FRONTEND=noninteractive \
	  timeout 400 apt-get install -qq --no-install-recommends $(BOARD_PACKAGES) >/dev/null \
	  || echo "the packages cannot be installed: tests whose tools are missing are skipped"; fi
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --group firmware; \
	else $(PIP) --constraint constraints.txt --group firmware; fi
	QLRJAX_BOARDS=1 $(BIN)/python -m pytest --numprocesses 2 tests/export/test_firmware_boards.py \
	  tests/export/test_firmware_builds.py tests/export/test_firmware_hardened.py

# make fuzz: every property with fresh seeds and ten times the examples
fuzz: $(VENV)/.developing
	QLRJAX_HYPOTHESIS=fuzz $(BIN)/python -m pytest --numprocesses 2 -m hypothesis

# make lint: ruff and pyright
lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# make docs: the site of docs/ into build/site, warnings are errors
docs: $(VENV)/.documenting
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# make wheel-test: the wheel, in an empty environment elsewhere, runs every command
wheel-test: $(VENV)/.developing
	$(BIN)/python tests/wheel

# make report-test: reports opened in headless Chromium, installed where it is missing
report-test: $(VENV)/.developing
	timeout 900 $(BIN)/python -m tests.browser

# make cluster-test: a sweep on two Ray nodes on loopback, one killed; installs Ray where it can
cluster-test: $(VENV)/.developing
	-$(PIP) --constraint constraints.txt 'ray>=2.50'
	timeout 600 $(BIN)/python -m tests.cluster

# make bench: speed, side by side with a peer where there is one
bench: $(VENV)/.developing
	$(BIN)/python -m pytest tests/bench/bench_*.py --benchmark-only --benchmark-columns=median,iqr,rounds
	$(BIN)/python -m tests.bench.start
	PYTHONPATH=tests $(BIN)/python -m bench build/bench

# make profile: where an event's time goes, phase by phase, from JAX's profiler
profile: $(VENV)/.developing
	$(BIN)/python -m tests.bench.profile

# make chaos: 50 sessions killed at random moments and resumed, compared bit for bit
chaos: $(VENV)/.developing
	$(BIN)/python -m tests.chaos --kills 50

# make attack: damages, lies, kills, races and limits by the thousand, none of which may succeed
attack: $(VENV)/.developing
	PYTHONPATH=tests $(BIN)/python -m attack

# make soak: 2,000 events in one process, which must not grow
soak: $(VENV)/.developing
	PYTHONPATH=tests $(BIN)/python -m soak

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

$(VENV)/.documenting: $(VENV)/.developing
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --group docs; \
	else $(PIP) --constraint constraints.txt --group docs; fi
	@touch $@

# make clean: removes .venv and what tools left
clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis

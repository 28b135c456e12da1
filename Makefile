# Each target does its whole set-up; a machine needs only Python 3.11 with pip (without ffmpeg the tests of MUSDB18 are skipped, which they say).

PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO_OUTPUT := demo-output

.PHONY: demo test check lint format clean

demo: $(VENV)/.core  ## separate the mixture that ships with the project, with the bundled weights, on the CPU
	$(BIN)/querysep separate examples/demo/mixture.flac -q examples/demo/query.flac \
		-o $(DEMO_OUTPUT) --plot --overwrite --device cpu
	$(BIN)/python examples/demo/score.py $(DEMO_OUTPUT)

test: lint  ## everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: test

lint: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch comes first and by its pin, so that the CPU build is taken where there is one.
$(VENV)/.core: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) install -qq -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -qq -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core Makefile openset/pyproject.toml
	$(PIP) install -qq -c constraints.txt -e '.[dev,train,data,eval,cluster,text]' -e ./openset
	touch $@

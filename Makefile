# Two commands do everything: `make bmf` trains on this machine, `make test` checks the code.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# sentence-transformers 3.0.1, which wrote the published card. Its tokenizers have no wheels for Python 3.13 and newer.
OLDEST := .venv-3.0.1
OLDEST_PYTHON ?= $(PYTHON)
PARITY_PAGE ?= docs/parity.md
MODELS_PAGE ?= docs/models.md
# Compiled files are kept: else each of many processes compiles all of the source anew.
TESTS := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
# Files outside tests/parity with tests marked slow, tests/tasks with the longest before others, so that no process ends alone.
SLOW = $(shell grep --recursive --files-with-matches --fixed-strings --include='test_*.py' mark.slow tests | grep -v tests/parity/ | sort --reverse)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: bmf test test-gpu parity lint audit bench torture docs clean

bmf: $(VENV)/run.installed  ## train the card's recipe (or its stand-in) and show what came of it
	$(BIN)/python train.py +experiment=bmf

test: $(VENV)/dev.installed  ## the tests, a process a core; the slow ones and tests/parity are those of `make parity`
	$(TESTS) --ignore tests/parity

test-gpu: $(VENV)/dev.installed  ## what only a CUDA device can show
	$(BIN)/python -m pytest -m gpu

parity: $(VENV)/dev.installed $(OLDEST)/installed  ## agreement with sentence-transformers and others, as a table, docs/parity.md and docs/models.md; and other slow tests
	$(TESTS) $(SLOW) tests/parity -m '(slow or release_3_0_1) and not gpu' --parity-page $(PARITY_PAGE) --models-page $(MODELS_PAGE)

lint: $(VENV)/dev.installed  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/dev.installed  ## licences and known vulnerabilities of what a run depends on
	$(BIN)/python -m scripts.dependency_list
	$(BIN)/python -m scripts.audit

bench: $(VENV)/dev.installed  ## speed and memory against sentence-transformers, as docs/benchmarks.md
	$(BIN)/python benchmarks/run_all.py

torture: $(VENV)/dev.installed  ## kill, fill the disk, feed rubbish, run long; count what was lost, as docs/reliability.md
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.torture.run_all

docs: $(VENV)/run.installed  ## the table and figure of the README, from the newest run of `make bmf`
	$(BIN)/python scripts/readme_results.py "$$(dirname "$$(ls outputs/bmf/*/results.json | tail -n 1)")"

clean:
	rm -rf $(VENV) $(OLDEST) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/run.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	$(BIN)/python -m matryoshka.embedded.e5_small
	touch $@

$(VENV)/dev.installed: $(VENV)/run.installed
	$(INSTALL) -e '.[dev]'
	touch $@

$(OLDEST)/installed: tests/parity/release_3_0_1.txt
	$(OLDEST_PYTHON) -c 'import sys; sys.exit("sentence-transformers 3.0.1 needs Python 3.11 or 3.12: make parity OLDEST_PYTHON=python3.12" if sys.version_info[:2] not in ((3, 11), (3, 12)) else 0)'
	test -x $(OLDEST)/bin/python || $(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	touch $@

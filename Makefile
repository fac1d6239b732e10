# Everything runs in .venv, made here from nothing. ARGS reaches the demo: make demo ARGS="seed=7"
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements.txt requirements-extras.txt pyproject.toml | cksum | cut -d' ' -f1)

DOCS := $(VENV)/docs/.installed-$(shell cat requirements-docs.txt | cksum | cut -d' ' -f1)

.PHONY: setup demo test test-min slow fuzz faults coverage dist docs clean

setup: $(STAMP)

# The stamp carries a checksum of the requirements: unchanged requirements install nothing.
$(STAMP): requirements.txt requirements-extras.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-extras.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	rm -f $(VENV)/.installed-*
	touch $@

demo: setup
	$(BIN)/python scripts/demo.py $(ARGS)

# Three processes of one thread each keep two cores busy: a tenth of the time they wait. They and
# those that tests start share bytecode and rewritten assertions: a tenth of the time.
ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
FAST := -m pytest -m "not slow and not gpu" -n 3 --dist loadfile --durations=30
TESTS := $(ENV) $(BIN)/python $(FAST)

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n 2
	$(TESTS)

# The same with the lowest versions that pyproject.toml allows, in an environment of its own.
MIN := .venv-min
test-min: setup
	$(PYTHON) -m venv $(MIN)
	$(MIN)/bin/python -m pip install --quiet $$($(BIN)/python tools/lower_bounds.py requirements.txt)
	$(MIN)/bin/python -m pip install --quiet --no-deps $$($(BIN)/python tools/lower_bounds.py requirements-extras.txt)
	$(MIN)/bin/python -m pip install --quiet --no-deps -e .
	$(ENV) $(MIN)/bin/python $(FAST)

LAWS := $(wildcard tests/*_laws.py tests/*/*_laws.py)
slow: setup
	$(BIN)/python -m pytest -m "slow and not gpu"
	LAW_EXAMPLES=1000 $(BIN)/python -m pytest $(LAWS)

# Damaged files through all readers: make fuzz SECONDS=2400 COUNT=200 (of each kind) SEED=1
SECONDS ?= 600
COUNT ?= 0
SEED ?= 0
OUT ?= build/fuzz.json
fuzz: setup
	mkdir -p $(dir $(OUT))
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(BIN)/python -m tests.fuzz.run \
		--seconds $(SECONDS) --count $(COUNT) --seed $(SEED) --out $(OUT) $(ARGS)

# Which lines of ames_lite the tests run; what runs in a process of its own is not seen.
coverage: setup
	$(TESTS) --cov=ames_lite --cov-report=term-missing:skip-covered

# Every stage killed, and refused by the disk, at calls that write: make faults FAULTS="seconds=600"
faults: setup
	$(BIN)/python -m tests.faults.run out=faults.json doc=RELIABILITY.md $(FAULTS)

# The wheel: configurations and shipped heads inside, the command `ames`.
dist: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# The documentation has an environment of its own: it reads the sources and does not import them.
docs: $(DOCS)
	PYTHONPATH=. $(VENV)/docs/bin/python -m tools.command_docs > docs/commands.md
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict --quiet
	@echo "site/index.html"

$(DOCS): requirements-docs.txt
	$(PYTHON) -m venv $(VENV)/docs
	$(VENV)/docs/bin/python -m pip install --quiet -r requirements-docs.txt
	rm -f $(VENV)/docs/.installed-*
	touch $@

clean:
	rm -rf $(VENV) $(MIN) site docs/commands.md .pytest_cache .mypy_cache .ruff_cache .coverage build dist *.egg-info

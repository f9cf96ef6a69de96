# `make demo` and `make test` set up what they need; everything lives in .venv and demo/.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

DATA ?=
ITEMS ?=

.PHONY: demo test lint bench clean docs

demo: .venv/.installed
	@$(BIN)/bilinear demo --out demo $(if $(DATA),--data "$(DATA)") $(if $(ITEMS),--items "$(ITEMS)")

test: .venv/.tested
	$(BIN)/python -m pytest

lint: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.documented
	$(BIN)/python docs/thread/build.py
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: .venv/.benched
	failed=; for name in accuracy train_cost reading epoch_speed small_epochs time_to_rmse scaling memory explicit_als \
	    ease recommend_everyone ratings_or_ranking sampled_ranking gowalla lab serve_load serve_faults serve_soak; \
	do $(BIN)/python benchmarks/$$name.py || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "not run to the end:$$failed"; exit 1; }

.venv/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bilinear needs Python 3.11 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/.installed: pyproject.toml .venv/.created
	$(PIP) install --editable '.[plot,serve]'
	$(BIN)/python -m compileall -q src
	touch $@

.venv/.tested: pyproject.toml .venv/.installed
	$(PIP) install --editable '.[test,lint]'
	$(BIN)/python -m compileall -q src
	touch $@

.venv/.documented: pyproject.toml .venv/.installed
	$(PIP) install --editable '.[docs]'
	touch $@

.venv/.benched: pyproject.toml .venv/.installed
	$(PIP) install --editable '.[bench]'
	touch $@

clean:
	rm -rf .venv demo .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Every target sets up what it needs. Everything is written to .venv, demo, dist and docs/_build.
PYTHON ?= python3
BIN := .venv/bin
# `make test CONSTRAINTS=` installs the newest versions that pyproject.toml allows instead of the locked ones.
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install
LOCKED := $(PIP) $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

# Processes that share the tests, a file of them at a time.
WORKERS ?= 2
# Plugins that tests use. pytest would rewrite every module of every package that has one, in every process.
FEWER := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
PLUGINS := -p xdist.plugin -p _hypothesis_pytestplugin -p schemathesis.pytest.plugin -p slipcover.pytest_plugin

DATA ?=
ITEMS ?=

.PHONY: demo test test-narrow lint docs site wheel image-steps lock hooks bench clean

demo: .venv/.installed
	@$(BIN)/bilinear demo --out demo $(if $(DATA),--data "$(DATA)") $(if $(ITEMS),--items "$(ITEMS)")

test: .venv/.tested  # COVERAGE=1 measures Python lines; not kernels, which are compiled, nor child processes
	$(FEWER) $(BIN)/python $(if $(COVERAGE),-m slipcover) -m pytest $(PLUGINS) -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-narrow: .venv/.tested  # kernels as a processor without wide vectors runs them
	NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES= OPENBLAS_CORETYPE=Haswell $(FEWER) $(BIN)/python -m pytest $(PLUGINS) \
	    -n $(WORKERS) --dist loadfile -q tests/test_eigen.py \
	    $(addprefix tests/kernels/test_,sgd_kernels.py grid_kernels.py order_kernel.py top_k_kernels.py)

lint: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.documented  # measures the numbers of docs/thread anew, then builds
	$(BIN)/python docs/thread/build.py
	$(MAKE) site

site: .venv/.documented
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

wheel: .venv/.built
	rm -rf dist
	$(BIN)/python -m build --outdir dist > /dev/null
	$(BIN)/python tools/try_wheel.py dist $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

image-steps: .venv/.created  # what `docker build -f deploy/Dockerfile .` does, without Docker
	$(BIN)/python tools/try_dockerfile.py

lock: .venv/.created  # the newest versions, for every supported Python and system
	$(PIP) --upgrade uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --quiet \
	    --no-annotate --no-emit-index-url --custom-compile-command "make lock" --output-file constraints.txt

hooks: .venv/.built
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

bench: .venv/.benched
	failed=; for name in accuracy train_cost reading epoch_speed small_epochs time_to_rmse scaling memory explicit_als \
	    ease recommend_everyone ratings_or_ranking sampled_ranking gowalla lab serve_load serve_faults serve_soak; \
	do $(BIN)/python benchmarks/$$name.py || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "not run to the end:$$failed"; exit 1; }

.venv/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bilinear needs Python 3.11 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/.installed: pyproject.toml constraints.txt .venv/.created
	$(LOCKED) --editable '.[plot,serve]'
	$(BIN)/python -m compileall -q src
	touch $@

.venv/.tested: .venv/.installed
	$(LOCKED) --editable '.[test,lint]'
	$(BIN)/python -m compileall -q src
	touch $@

.venv/.documented: .venv/.installed
	$(LOCKED) --editable '.[docs]'
	touch $@

.venv/.built: .venv/.installed
	$(LOCKED) --editable '.[release]'
	touch $@

.venv/.benched: .venv/.installed
	$(PIP) --editable '.[bench]'
	touch $@

clean:
	rm -rf .venv demo dist docs/_build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

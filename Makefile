# Everything from a fresh clone: `make help` lists the targets.
#
# Each virtual environment is filled in steps, and each step leaves a stamp file behind, so that it
# is done once. The package itself is installed as users install it (`pip install .`, which is what
# mim can work with) and again whenever one of its files has changed.

PYTHON ?= python3
# torch comes first, by itself: mmcv is compiled against it, and nothing later may replace it.
TORCH ?= torch==2.13.0
VENV ?= .venv
VENV_OPENMMLAB ?= .venv-openmmlab
# Further requirements, such as transformers==4.56.0 (tools/test_versions.py).
PINS ?=
# Prebuilt mmcv wheels, used if they are there and fit.
WHEELS ?= ../shared/wheels
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# Options for pytest; one process per core, each with one thread.
PYTEST_ARGS ?= -n $(JOBS)

PIP_FLAGS := -qq --disable-pip-version-check --no-input
BIN := $(VENV)/bin
BIN_OPENMMLAB := $(VENV_OPENMMLAB)/bin
SOURCES := setup.py pyproject.toml model-index.yml requirements/runtime.txt \
	$(shell find mmvisionllm configs tools -type f -not -name '*.pyc' -not -path '*/.mim/*')
OFFLINE := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
TEST_ENV := $(OFFLINE) OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup venv demo demo-tasks test test-slow test-openmmlab setup-openmmlab lint format clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup venv: $(VENV)/.package  ## Create .venv with everything in it

demo: setup  ## Make scenes, train the embedded default, test it, draw pictures
	$(OFFLINE) $(BIN)/python tools/demo_scenes.py

demo-tasks: setup  ## All tasks in one model, with stage 1 and stage 2
	$(OFFLINE) $(BIN)/python tools/demo_tasks.py

test: setup  ## Fast tests
	$(TEST_ENV) $(BIN)/python -m pytest -q $(PYTEST_ARGS) tests

test-slow: setup  ## Tests that take minutes
	$(TEST_ENV) $(BIN)/python -m pytest -q -m slow tests

test-openmmlab: setup-openmmlab  ## Fast tests on the OpenMMLab originals, in .venv-openmmlab
	$(TEST_ENV) $(BIN_OPENMMLAB)/python -m pytest -q $(PYTEST_ARGS) tests

setup-openmmlab: $(VENV_OPENMMLAB)/.package

lint: $(VENV)/.lint  ## Check the style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.lint  ## Mend the style with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove environments, builds and caches (not work_dirs)
	rm -rf .venv .venv-openmmlab build dist mmvisionllm.egg-info mmvisionllm/.mim
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------ the maintained continuations

# $(1): python; ends with a message if it is too old.
check_python = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	"mmvisionllm needs Python 3.10 or newer; choose one: make PYTHON=python3.11 ...")'

$(VENV)/.created:
	@$(call check_python,$(PYTHON))
	@echo "[setup] creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.lint: $(VENV)/.created requirements/lint.txt
	@$(BIN)/pip install $(PIP_FLAGS) -r requirements/lint.txt
	@touch $@

$(VENV)/.torch: $(VENV)/.created
	@echo "[setup] installing $(TORCH)"
	@$(BIN)/pip install $(PIP_FLAGS) "$(TORCH)"
	@$(BIN)/pip freeze | sed -n 's/^\(torch==[^+]*\).*/\1/p' > $(VENV)/constraints.txt
	@printf '%s\n' $(PINS) >> $(VENV)/constraints.txt
	@touch $@

$(VENV)/.mmcv: $(VENV)/.torch
	@echo "[setup] installing onedl-mmcv"
	@sh requirements/install_mmcv.sh $(BIN)/python onedl-mmcv 2.3.6 "setuptools>=80" \
		"$(WHEELS)" $(JOBS) $(VENV)/constraints.txt
	@touch $@

$(VENV)/.deps: $(VENV)/.mmcv requirements/onedl.txt requirements/runtime.txt requirements/tests.txt
	@echo "[setup] installing onedl-mmdetection, transformers and what the tests need"
	@$(BIN)/pip install $(PIP_FLAGS) -c $(VENV)/constraints.txt -r requirements/onedl.txt \
		-r requirements/runtime.txt -r requirements/tests.txt
	@touch $@

$(VENV)/.package: $(VENV)/.deps $(SOURCES)
	@echo "[setup] installing mmvisionllm"
	@$(BIN)/pip install $(PIP_FLAGS) --no-deps --no-build-isolation --force-reinstall .
	@touch $@

# ------------------------------------------------------------------------ the OpenMMLab originals

$(VENV_OPENMMLAB)/.torch:
	@$(call check_python,$(PYTHON))
	@echo "[setup] creating $(VENV_OPENMMLAB) and installing $(TORCH)"
	@$(PYTHON) -m venv $(VENV_OPENMMLAB)
	@$(BIN_OPENMMLAB)/pip install $(PIP_FLAGS) "$(TORCH)" "setuptools<81"
	@$(BIN_OPENMMLAB)/pip freeze | sed -n 's/^\(torch==[^+]*\).*/\1/p' \
		> $(VENV_OPENMMLAB)/constraints.txt
	@printf '%s\n' "setuptools<81" $(PINS) >> $(VENV_OPENMMLAB)/constraints.txt
	@touch $@

$(VENV_OPENMMLAB)/.mmcv: $(VENV_OPENMMLAB)/.torch
	@echo "[setup] installing mmcv 2.1.0"
	@sh requirements/install_mmcv.sh $(BIN_OPENMMLAB)/python mmcv 2.1.0 "setuptools<81" \
		"$(WHEELS)" $(JOBS) $(VENV_OPENMMLAB)/constraints.txt
	@touch $@

$(VENV_OPENMMLAB)/.deps: $(VENV_OPENMMLAB)/.mmcv requirements/runtime.txt requirements/tests.txt
	@echo "[setup] installing mmdet 3.3.0, transformers and what the tests need"
	@$(BIN_OPENMMLAB)/pip install $(PIP_FLAGS) -c $(VENV_OPENMMLAB)/constraints.txt \
		mmengine==0.10.7 mmcv==2.1.0 mmdet==3.3.0 openmim \
		-r requirements/runtime.txt -r requirements/tests.txt
	@touch $@

$(VENV_OPENMMLAB)/.package: $(VENV_OPENMMLAB)/.deps $(SOURCES)
	@echo "[setup] installing mmvisionllm"
	@$(BIN_OPENMMLAB)/pip install $(PIP_FLAGS) --no-deps --no-build-isolation --force-reinstall .
	@touch $@

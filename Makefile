# Two commands do it all: `make lesson` runs the lesson, `make test` runs the tests. Both set up what they need
# in .venv the first time. PYTHON chooses the interpreter; TORCH_INDEX the index that torch comes from; PROCESSES how
# many processes run tests side by side.

PYTHON ?= python3
OUT ?= breaknet-lesson
ARGS ?=
NOTEBOOK ?= breaking_a_neural_network
VENV := .venv
BIN := $(VENV)/bin
SETUP := scripts/set_up.py
PROCESSES ?= 2
SIZE ?= quick
# the classroom's own notebook takes many minutes: BENCHMARKS="-k classroom" times that
BENCHMARKS ?= -k "not classroom"
TARGET ?= sm_75
# tests of what a launch does; those of dispatch, of interpreter and of host say nothing about compiled code
COMPILED := tests/backends/test_triton_backend.py tests/kernels/test_trainers.py \
	tests/kernels/test_trainer_jobs.py tests/kernels/test_evaluation_kernel.py \
	tests/kernels/test_evaluation_forms.py tests/kernels/test_f16_parts.py tests/kernels/test_split_launches.py \
	tests/kernels/test_fused_network.py
# what the API reference covers: the public interface
DOCUMENTED := breaknet breaknet.notebook breaknet.kernels.linear_sigmoid breaknet.kernels.summed_mse \
	breaknet.kernels.fused_network
SIDE_BY_SIDE := --numprocesses $(PROCESSES) --dist worksteal

.PHONY: help lesson notebook test test-all test-compiled test-gpu check format docs notebooks notebooks-full tables bench bench-gpu clean
.DEFAULT_GOAL := help

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

lesson: $(VENV)/ready  ## set up and run the whole lesson (OUT=folder, ARGS="--seed 1 --backend torch")
	$(BIN)/breaknet lesson --out $(OUT) $(ARGS)

test: $(VENV)/ready-dev  ## set up and run the tests that fit CI
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-all: $(VENV)/ready-dev  ## all tests: full sizes, slow tools, other Tritons
	BREAKNET_TEST_ALL=1 $(BIN)/python -m pytest -m "not gpu" $(SIDE_BY_SIDE) $(ARGS)
	$(MAKE) test-compiled TARGET=sm_75
	$(MAKE) test-compiled TARGET=sm_90
	$(BIN)/python scripts/triton_versions.py
	$(MAKE) docs

test-compiled: $(VENV)/ready-dev  ## the kernels' tests on what Triton compiles for TARGET=sm_75; needs no GPU
	BREAKNET_TEST_TARGET=$(TARGET) $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(COMPILED) $(ARGS)

test-gpu: $(VENV)/ready-dev  ## the kernels' tests, the long GPU repeats and the contenders', on a CUDA GPU
	$(BIN)/python -m pytest -m "not slow" tests/kernels tests/backends $(ARGS)
	$(BIN)/python -m pytest -m "gpu and not slow" tests/benchmarks $(ARGS)

check: $(VENV)/ready-dev  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/ready-dev  ## put the formatting right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/ready-dev  ## render the API reference from the docstrings into api-docs/
	$(BIN)/python -W error -m pdoc --docformat google --output-directory api-docs $(DOCUMENTED)

bench: $(VENV)/ready-dev  ## time this machine's CPU (SIZE=full for rows to commit; ARGS="-k ladder" picks some)
	BREAKNET_BENCH_SIZE=$(SIZE) $(BIN)/python -m pytest benchmarks --benchmark-enable $(BENCHMARKS) $(ARGS)

bench-gpu: $(VENV)/ready-dev  ## the same on its GPU
	BREAKNET_BENCH_SIZE=$(SIZE) BREAKNET_BENCH_DEVICE=cuda $(BIN)/python -m pytest benchmarks --benchmark-enable $(BENCHMARKS) $(ARGS)

tables: $(VENV)/ready-dev  ## write the docs' tables and plots from the stored rows
	$(BIN)/python -m benchmarks.t4_gate
	$(BIN)/python -m benchmarks.tables

notebooks: $(VENV)/ready-dev  ## write notebooks/*.ipynb from their sources, and into dist/ those that need no other file
	$(BIN)/python scripts/build_notebooks.py
	$(BIN)/python scripts/pack_notebooks.py

notebook: $(VENV)/ready-notebook  ## open your own copy of a notebook in JupyterLab (NOTEBOOK=gpu_1_launches)
	@mkdir -p my-notebooks
	@test -e my-notebooks/$(NOTEBOOK).ipynb || cp notebooks/$(NOTEBOOK).ipynb my-notebooks/
	$(BIN)/jupyter lab my-notebooks/$(NOTEBOOK).ipynb $(ARGS)

notebooks-full: notebooks  ## run all notebooks at full size into executed-notebooks/
	BREAKNET_COURSE=full $(BIN)/python scripts/run_notebooks.py $(ARGS)

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) api-docs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks

$(VENV)/ready: pyproject.toml constraints.txt $(SETUP)
	$(PYTHON) $(SETUP) $(VENV) play
	@touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt $(SETUP)
	$(PYTHON) $(SETUP) $(VENV) dev docs
	@touch $(VENV)/ready $@

$(VENV)/ready-notebook: pyproject.toml constraints.txt $(SETUP)
	$(PYTHON) $(SETUP) $(VENV) play notebook
	@touch $(VENV)/ready $@

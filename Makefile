# make demo   fresh machine → dataset, report            make test   the whole suite
PY ?= python3
BIN := .venv/bin
OUT ?= build/demo
.DEFAULT_GOAL := help

.PHONY: help install demo test test-production check bench clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

install: $(BIN)/.installed  ## make .venv with the pinned set (safe to repeat)

$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PY) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python >= 3.11 is needed, this is {v[0]}.{v[1]}: make install PY=python3.12")'
	test -x $(BIN)/python || $(PY) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev,train,server,ray]'
	SAM2_BUILD_CUDA=0 $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt \
	  --no-build-isolation-package sam2 -e '.[dev,train,models,server,ray]'
	$(BIN)/python -m compileall -q schemas tasks flows matrix_train web  # a second less for each process
	touch $@

demo: install  ## render a raw bucket, build the dataset, score it, write the report
	$(BIN)/matrix_data demo $(OUT)

test: install  ## the whole suite
	$(BIN)/python -m pytest -n 2

# What a machine lacks leaves its tests out, and the end says what to install. ONLY='and not long': CI's part, 2 minutes.
test-production: install  ## what takes longer or needs more of the machine: PostgreSQL, Redis, Ray, images
	$(BIN)/python -m pytest -m 'production $(ONLY)' -rs

check: install  ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## the quick benchmarks of the pipeline; docs/log.md has the commands of all
	for b in ingest shards orchestration; do $(BIN)/python -m benchmarks.$$b || exit 1; done

clean:  ## remove what the targets above made
	rm -rf .venv build

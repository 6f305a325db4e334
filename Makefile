# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= runs/demo
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test test-slow check format bench docs clean

help:  ## these lines
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.monge: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt -e ".[report]"
	@touch $@

$(VENV)/.dev: $(VENV)/.monge
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev,track]"
	@touch $@

demo: $(VENV)/.monge  ## MStein, SASRec and a trivial baseline on MovieLens-100K; a table, a top 10, a report
	rm -rf $(DEMO)
	$(BIN)/monge data describe ml-100k
	$(BIN)/monge train popular ml-100k --out $(DEMO)/popular >/dev/null
	$(BIN)/monge train sasrec ml-100k --config examples/demo-sasrec.yaml --out $(DEMO)/sasrec >/dev/null
	$(BIN)/monge train mstein ml-100k --config examples/demo-mstein.yaml --out $(DEMO)/mstein
	$(BIN)/monge compare $(DEMO)/popular $(DEMO)/sasrec $(DEMO)/mstein --metrics recall@10,ndcg@10,mrr,coverage@10
	$(BIN)/monge recommend $(DEMO)/mstein --user 196 --k 10
	@echo "open $(DEMO)/mstein/report.html in a browser"

# one thread a worker: two that share a core wait for each other, and the tests take three times as long
test: $(VENV)/.dev  ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

test-slow: $(VENV)/.dev  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev  ## format, lint, types, direction of imports, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	PYTHONPATH=src $(BIN)/lint-imports
	$(MAKE) test

format: $(VENV)/.dev  ## rewrite the code in our format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## speed and memory beside RecTools and RecBole, in environments of their own
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.pages

docs: $(VENV)/.dev  ## build the documentation into site/
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/python docs/generate_models.py
	$(BIN)/mkdocs build --strict

clean:  ## remove the environment and what was built
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .hypothesis

# Every target brings up .venv by itself, from Python >= 3.11 alone; uv is used where it is present.
# Options for the program behind a target go into ARGS: make test ARGS="tests/unit -k duration"

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test demo check bench docs interop rebuild

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(INSTALLED) ## an embedded store, the API and a worker with the demo handler, in one command
	@exec $(BIN)/taskflow dev $(ARGS)

test: $(INSTALLED) ## the tests, in parallel
	@$(BIN)/python -m pytest -n logical --maxprocesses 8 $(ARGS)

demo: $(INSTALLED) ## run a task from creation to result, and print each step
	@$(BIN)/python examples/demo.py $(ARGS)

check: $(INSTALLED) ## everything CI checks: lint, format, types, floors, tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: $(INSTALLED) ## measure throughput and latency, beside Go asynq where Go is present
	@$(BIN)/python -m bench $(ARGS)

docs: $(INSTALLED) ## write the reference in docs/http-api.md from the OpenAPI document
	@$(BIN)/python tests/support/reference.py

interop: $(INSTALLED) ## the tests with Go asynq and its own tools; ARGS=--write-table writes the table in docs/wire-format.md
	@$(BIN)/python -m pytest tests/interop $(ARGS)

# The first interpreter that runs, is new enough and can make environments. (A version manager may put names on PATH that do not run.)
define FIND_PYTHON
for candidate in "$$PYTHON" python3.13 python3.12 python3.11 python3 python; do \
	[ -n "$$candidate" ] || continue; \
	"$$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	python=$$candidate; break; \
done
endef

# A broken .venv (its Python was removed) is rebuilt although nothing in the repository changed.
$(INSTALLED): pyproject.toml constraints.txt $(if $(wildcard $(BIN)/python),,rebuild)
	@set -e; rm -f $@; \
	uv=$$(command -v uv || true); \
	if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		python=; $(FIND_PYTHON); \
		if [ -z "$$python" ]; then \
			echo "TaskFlow needs Python 3.11 or newer, and found none on PATH (looked for python3.13, python3.12, python3.11, python3)." >&2; \
			echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
		fi; \
		echo "Making $(VENV) with $$("$$python" --version); this takes a minute, once."; \
		if ! "$$python" -m venv --clear $(VENV); then \
			rm -rf $(VENV); \
			if [ -z "$$uv" ] || ! "$$uv" venv --quiet --seed --python "$$python" $(VENV); then \
				echo "$$python cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
			fi; \
		fi; \
	fi; \
	{ [ -n "$$uv" ] && "$$uv" pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; } || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	touch $@

rebuild:

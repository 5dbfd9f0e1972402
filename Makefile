# make help lists what there is. Each target sets up what it needs in .venv; a second run installs nothing again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
CHECKED := edge_app export tests

.DEFAULT_GOAL := help
.PHONY: help demo test check format wheel picture clean system-python system-demo system-test

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 14

demo: system-demo $(VENV)/.demo ## run the main job on a built-in source: no camera, no screen, no download at run time
	@mkdir -p demo-out && rm -f demo-out/events.jsonl
	$(BIN)/edge-app run demo --headless --overwrite --output demo-out/annotated.mp4 --events demo-out/events.jsonl \
		--summary demo-out/summary.json

test: system-test $(VENV)/.dev ## run every test, the training side included
	$(BIN)/python -m pytest

check: system-demo $(VENV)/.dev ## format, lint, types, the order of rooms and the fast tests
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not slow and not shared"

format: $(VENV)/.dev ## format the code and fix what lint can fix
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

wheel: $(VENV)/.build ## build dist/edge_app-*.whl, models included
	rm -rf build
	$(BIN)/python -m build --quiet --wheel --outdir dist
	@ls dist/*.whl

picture: system-demo $(VENV)/.demo ## draw what a run shows, demo-out/demo.jpg
	$(BIN)/python tools/draw_demo.py demo-out/demo.jpg

clean: ## remove the environment and everything that was built; models stay
	rm -rf $(VENV) build dist demo-out *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment ------------------------------------------------------------------------------------------------

system-python system-demo system-test: # what of Debian's packages is lacking; nothing is done where nothing is
	@PYTHON="$(PYTHON)" tools/system-packages.sh $(@:system-%=%)

$(VENV)/.python: | system-python
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: $(PYTHON) not found: install Python 3.11 or newer, or say make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$($(PYTHON) --version) is too old: edge_app needs 3.11 or newer; say make PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.build: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) build
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing edge_app into $(VENV) …"
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing edge_app with its tests and the training side into $(VENV): this takes a while …"
	$(PIP) --editable '.[demo,export,dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.build

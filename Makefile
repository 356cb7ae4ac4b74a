# The four things that people do, and what CI does. `make demo` and `make test` work on a fresh machine.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
HOME_FOLDER ?= demo
STACK_FOLDER ?= stack
# settings folder; without it the demo takes configs/demo, the UI the one that the home remembers, and the stack the one
# of its last `make up`, at first configs
CONFIGS ?=
LOCK_OPTIONS := --quiet --no-emit-find-links --no-emit-index-url --no-emit-trusted-host --strip-extras --allow-unsafe --no-annotate

.PHONY: demo ui explore web mlflow up down status test test-fast test-long test-k8s check bench soak calibrate study lock clean-demo

demo: $(VENV)/.installed  ## a simulated screen through the whole line, then the leaderboard
	@$(BIN)/python scripts/demo.py --home $(HOME_FOLDER) $(if $(CONFIGS),--configs $(CONFIGS))

explore: $(VENV)/.installed  ## the map explorer on what the demo made, on loopback
	$(BIN)/cellassets explore --home $(HOME_FOLDER)

web:  ## build the explorer's page again; needs Node, everything else uses the built files
	cd web && npm ci && npm run build

ui: $(VENV)/.installed  ## Dagster's UI and daemon on what the demo made, on loopback
	@mkdir -p $(HOME_FOLDER)/dagster && cp dagster.yaml $(HOME_FOLDER)/dagster/
	CELLASSETS_UI_URL=http://127.0.0.1:3000 CELLASSETS_MLFLOW_URL=http://127.0.0.1:5001 \
		CELLASSETS_HOME=$(abspath $(HOME_FOLDER)) $(if $(CONFIGS),CELLASSETS_CONFIGS=$(abspath $(CONFIGS))) \
		DAGSTER_HOME=$(abspath $(HOME_FOLDER))/dagster $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

mlflow: $(VENV)/.installed  ## MLflow's user interface on the same home, on loopback: http://127.0.0.1:5001
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port 5001 \
		--backend-store-uri sqlite:///$(abspath $(HOME_FOLDER))/mlflow.db

up: $(VENV)/.installed-dev  ## the servers of the production deployment, without containers; docs/stack.md
	@$(BIN)/python scripts/stack.py up --folder $(STACK_FOLDER) $(if $(CONFIGS),--configs $(CONFIGS))

down: $(VENV)/.installed-dev  ## stops them; the data stay
	@$(BIN)/python scripts/stack.py down --folder $(STACK_FOLDER)

status: $(VENV)/.installed-dev  ## says which of them run
	@$(BIN)/python scripts/stack.py status --folder $(STACK_FOLDER)

test: $(VENV)/.installed-dev  ## the tests, one process per core; those of one file run in one process
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not long"

test-long: $(VENV)/.installed-dev  ## those that take minutes, and those on random data with all of their data; hours
	@OMP_NUM_THREADS=1 CELLASSETS_TRUTH=full $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "long or sampled"

test-fast: $(VENV)/.installed-dev  ## a part of the tests for your own loop, about two minutes
	@$(BIN)/python -m pytest -m "not slow and not browser and not postgres" --ignore tests/truth --ignore tests/training \
		--ignore tests/registry --ignore tests/orchestration --ignore tests/stages --ignore tests/cli

test-k8s: $(VENV)/.installed-dev  ## the platform on a real Kubernetes; scripts/test_k8s.sh says which
	@scripts/test_k8s.sh

check: $(VENV)/.installed-dev  ## linters, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/configuration_page.py --check
	@$(BIN)/python scripts/package_graph.py --check

bench: $(VENV)/.installed  ## speed, as ratios against a named alternative; results in bench/results
	@for script in bench/*.py; do \
		echo "== $$script"; \
		case $$script in */alignment.py|*/benchmarks.py|*/biology.py|*/retrieval.py) threads=1;; *) threads=;; esac; \
		env $${threads:+OMP_NUM_THREADS=$$threads} $(BIN)/python $$script || exit 1; \
	done

soak: $(VENV)/.installed  ## hundreds of partitions under random kills; counts what was lost or done twice
	@$(BIN)/python scripts/soak.py

calibrate: $(VENV)/.installed  ## all benchmarks on simulated screens with nothing to find; writes docs/calibration.md
	@$(BIN)/python scripts/calibrate.py

study: $(VENV)/.installed  ## what networks gain over classical features on a simulated screen; writes docs/learning.md
	@$(BIN)/python scripts/learning_study.py

clean-demo:  ## removes what the demo made
	rm -rf $(HOME_FOLDER)

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "installs the packages of $< into $(VENV) (3 GB, some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

lock: $(VENV)/.installed-dev  ## updates the pinned versions, within the limits of pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile $(LOCK_OPTIONS) --extra build -o requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile $(LOCK_OPTIONS) --extra build --extra dev \
		-c requirements.lock -o requirements-dev.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements.lock requirements-dev.lock  # the same version is called so on other indexes

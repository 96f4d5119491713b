# Insights Hub. `make` lists what there is; `make up ARGS="--history 12h"` hands options on to the command behind it.
# Needs Python 3.11 or 3.12 and a package registry; everything else comes from there, locked in requirements/.

.DEFAULT_GOAL := help
.PHONY: notebooks images sbom dbt-docs check-actions check-workflows compose-up compose-down test-containers help up down clean status test test-quick test-faults test-nightly fuzz check format audit lock check-lint check-format check-types check-imports \
	check-dependencies check-sql check-marts check-plans check-yaml check-contracts check-generated check-sizes check-images check-terraform check-helm

# The first Python on the path that fits; `make up PYTHON=python3.12` names one.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && exit; \
	done; echo python3)
ARGS ?=
# What builds images, and brings compose.yaml up: `make compose-up DOCKER=podman COMPOSE=podman-compose`.
DOCKER ?= docker
COMPOSE ?= $(DOCKER) compose
BUILD_ARGS ?=
bootstrap = @$(PYTHON) bootstrap.py
python := .venv/bin/python
all := dev flink spark dbt metabase trino tableau airflow
# Two processes of tests: a test of a stack mostly waits. Which tests go together, tests/kinds.py says.
WORKERS ?= 2
pytest = .venv/bin/pytest -n $(WORKERS) --dist=loadgroup --no-loadscope-reorder
# Without bytecode on disk every Python that is started compiles its modules again, which is most of a short one's time.
unexport PYTHONDONTWRITEBYTECODE

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{ printf "  make %-11s %s\n", $$1, $$2 }'

up:  ## start everything, and wait until its history is counted
	$(bootstrap) main flink dbt
	@$(python) -m insights up $(ARGS)

down:  ## stop everything; the data stays
	$(bootstrap) main
	@$(python) -m insights down $(ARGS)

clean:  ## stop everything and remove the data (asks first, unless FORCE=1)
	$(bootstrap) main
	@$(python) -m insights clean $(if $(FORCE),--force) $(ARGS)

status:  ## what runs, what was counted, how fresh it is
	$(bootstrap) main
	@$(python) -m insights status $(ARGS)

notebooks:  ## open the notebooks in JupyterLab, on the stack that runs
	$(bootstrap) flink notebooks
	@.venv-notebooks/bin/jupyter lab --notebook-dir notebooks $(ARGS)

test:  ## every test but the long runs of the night, on the real parts (ARGS="-k late" picks some)
	$(bootstrap) $(all)
	@$(pytest) -m "not (faults or nightly or containers)" $(ARGS)

test-quick:  ## what needs no stack, engine or browser: in two minutes
	$(bootstrap) $(all)
	@$(pytest) -m "(unit or postgres) and not (faults or nightly)" $(ARGS)

test-faults:  ## the long fault runs: servers killed and stopped, numbers exact
	$(bootstrap) $(all)
	@$(pytest) -m faults $(ARGS)

test-nightly:  ## what every night runs: the fault runs, and further themes, sizes and engines
	$(bootstrap) $(all)
	@$(pytest) -m "faults or nightly" $(ARGS)

test-containers: images  ## compose.yaml brought up for real, and its numbers compared
	$(bootstrap) dev
	@.venv/bin/pytest -m containers $(ARGS)

sbom:  ## what the images hold, from the locks: a CycloneDX file for each in build/sbom
	$(bootstrap) dev
	@$(python) .ci/sbom.py build/sbom

dbt-docs:  ## the marts' documentation as one page, in build/dbt-docs
	$(bootstrap) dev dbt
	@$(python) .ci/dbt_docs.py build/dbt-docs

images:  ## the images of docker/Dockerfile
	@for each in postgres kafka flink hub; do \
		$(DOCKER) build $(BUILD_ARGS) --target $$each --tag insights-$$each --file docker/Dockerfile . || exit 1; \
	done

compose-up: images  ## the whole system in containers, until the live page answers
	@$(COMPOSE) up --detach --no-build && $(PYTHON) docker/await_page.py

compose-down:  ## stop the containers; the data stays in their volumes
	@$(COMPOSE) down --timeout 180

fuzz:  ## thousands of inputs drawn by chance for everything that reads what others wrote
	$(bootstrap) dev flink
	@$(pytest) -m fuzz --hypothesis-profile=fuzz --timeout=3600 -o faulthandler_timeout=0 $(ARGS)

check:  ## lint, types, imports, dependencies, SQL, and the contracts
	$(bootstrap) dev flink spark dbt
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target \
		check-plans check-types check-lint check-format check-imports check-dependencies check-sql check-marts \
		check-yaml check-contracts check-generated check-sizes check-images check-workflows

# Each of these is quiet when all is well, and they all run even when one finds something.
check-lint:
	@echo "==> ruff check" && .venv/bin/ruff check --quiet .
check-format:
	@echo "==> ruff format --check" && .venv/bin/ruff format --quiet --check .
check-types:
	@echo "==> mypy --strict" && .venv/bin/mypy --no-error-summary
check-imports:
	@echo "==> import-linter" && { found=$$(.venv/bin/lint-imports 2>&1) || { echo "$$found"; exit 1; }; }
check-dependencies:
	@echo "==> deptry" && { found=$$(.venv/bin/deptry . 2>&1) || { echo "$$found"; exit 1; }; }
check-sql:
	@echo "==> sqlfluff, for Flink, Spark and DuckDB" && .venv/bin/python .ci/lint_sql.py
check-marts:
	@echo "==> dbt compiled and linted, for Postgres and Athena" && .venv/bin/python .ci/lint_dbt.py
check-plans:
	@echo "==> every query planned by Flink and by Spark" && .venv/bin/python .ci/plan_sql.py
check-yaml:
	@echo "==> yamllint" && .venv/bin/yamllint --strict .github compose.yaml compose.three-brokers.yaml alerts dashboards .pre-commit-config.yaml
check-contracts:
	@echo "==> compatibility with the released contracts" && $(python) -m insights schemas check --offline > /dev/null
check-generated:
	@echo "==> dbt's sources and exposures" && $(python) -m insights dbt sources --check
check-images:
	@echo "==> hadolint" && .venv/bin/hadolint docker/Dockerfile
check-workflows:
	@echo "==> zizmor" && { found=$$(.venv/bin/zizmor --offline --quiet --no-progress .github/workflows) \
		|| { echo "$$found"; exit 1; }; }
check-sizes:
	@echo "==> files over 400 lines state why" && $(python) .ci/check_sizes.py

check-actions:  ## GitHub's workflows by actionlint; needs Go
	@echo "==> actionlint" && go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

check-terraform:  ## terraform/ against the AWS provider's schema and rules, without AWS (ARGS=--prove tries the checks)
	$(bootstrap) dev terraform
	@$(python) .ci/terraform/check.py $(ARGS)

check-helm:  ## helm/ against what Kubernetes and the operators accept, without a cluster (ARGS=--prove tries the checks)
	$(bootstrap) dev
	@$(python) .ci/helm/check.py $(ARGS)

format:  ## write the code as `make check` wants it
	$(bootstrap) dev
	@.venv/bin/ruff check --quiet --fix . ; .venv/bin/ruff format .
	@$(python) -m insights dbt sources > /dev/null

audit:  ## known vulnerabilities in what is locked
	$(bootstrap) dev
	@.venv/bin/pip-audit --disable-pip --require-hashes -r requirements/main.txt

lock:  ## resolve the dependencies again (ARGS=--upgrade for newer ones)
	$(bootstrap) lock $(ARGS)

# Everything here works on a fresh Debian or Ubuntu with git, make and python3 (3.11 or later).

HOST ?= 127.0.0.1
PORT ?= 8000
PYTHON := .venv/bin/python
LOCK := $(PYTHON) -m uv pip compile pyproject.toml --universal --python-version 3.11 -q \
	--no-header --generate-hashes --no-emit-package aos-customer-integrations-sdk --no-annotate

# A run starts dozens of processes. Where the caller's environment forbids to keep compiled modules, as
# images of containers often do, each of them would compile the product anew: a fifth of its start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test test-browser test-benchmarks check test-sdk-matrix test-frameworks test-provider-suites trust-ingest trust-enforcement trust-sdk trust-abuse trust-lifecycle trust-limits bench bench-peers bench-enforcement bench-limits bench-sdk bench-reads bench-seals bench-scrape lease-replay forecast-error estimate-error prices-diff mutate-permissions fuzz-api demo observe dashboards test-observability lock clean runtime development

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: runtime ## Install what is missing and serve the product (HOST=, PORT=8001, LOG_LEVEL=INFO)
	@# make itself may be killed: the product must not stay behind.
	@exec setpriv --pdeathsig TERM $(PYTHON) manage.py cus_run --host $(HOST) --port $(PORT)

observe: runtime ## Watch the running product with Prometheus and Alertmanager (PORT=8001)
	@exec $(PYTHON) -m observability.cus_observe --port $(PORT)

dashboards: development ## Write Grafana's dashboards anew from their code
	@exec $(PYTHON) -m observability.cus_dashboards

demo: runtime ## Send demo traffic to the product that runs, on whatever port (TRACE=FILE, SPEED=60)
	@exec $(PYTHON) manage.py cus_demo --port $(PORT) $(if $(TRACE),--trace '$(TRACE)') $(if $(SPEED),--speed '$(SPEED)')

test: development ## Run the tests, each run on servers of its own (ARGS='-k budget')
	@exec $(PYTHON) -m pytest -n auto --dist loadfile $(ARGS)

test-browser: development ## Walk the console in Debian's chromium as each role; pictures in .browser/ (ARGS=-k guided)
	@bin/chromium >/dev/null
	@exec $(PYTHON) -m pytest -n 2 --dist loadfile tests/browser $(ARGS)

test-benchmarks: development ## Run the tests of the benchmarks, each in small
	@exec $(PYTHON) -m pytest -n auto --dist loadfile tests/benchmarks $(ARGS)

check: development ## Lint, types, import contracts, migrations, deployment checks
	@exec $(PYTHON) -m aos_project.cus_embedded exec -- bin/check

trust-ingest: development ## Kill, replay, race and fuzz ingest, in full (ARGS='--scale 0.1')
	@exec $(PYTHON) -m tests.trust.cus_ingest_campaign $(ARGS)

trust-enforcement: development ## Race, kill, stop and hang checks, in full (ARGS='--scale 0.1')
	@exec $(PYTHON) -m tests.trust.cus_enforcement_campaign $(ARGS)

trust-abuse: development ## Attack the product as its users' enemies would (ARGS='--only floods --scale 0.5')
	@exec $(PYTHON) -m tests.trust.cus_abuse_campaign $(ARGS)

trust-lifecycle: development ## A thousand random lives of an integration, and three years of months (ARGS='--lives 5000')
	@exec $(PYTHON) -m pytest -n 0 -q tests/services/test_cus_lifecycle.py tests/services/test_cus_rollovers.py -k 'random_lives or rollovers' --lives 1000 --months 36 --timeout 1800 $(ARGS)

trust-limits: development ## Race 50 processes for limits at scopes, and 10,000 random steps beside an oracle (ARGS='--limit-processes 500 -k race_and_die')
	@exec $(PYTHON) -m pytest -n 0 -q --timeout 7200 tests/trust/test_cus_limits_race.py tests/enforcement/test_cus_limits_oracle.py --limit-calls 100000 --limit-processes 50 --limit-steps 10000 $(ARGS)

mutate-permissions: development ## Make holes in the permissions; each must fail a test (ARGS=console)
	@exec $(PYTHON) -m tests.trust.cus_permission_mutants $(ARGS)

fuzz-api: development ## Fuzz the API by its own document (ARGS='--fuzz-examples 200 --fuzz-seed 7')
	@exec $(PYTHON) -m pytest -n 0 -q -s tests/api/test_cus_api_fuzz.py --fuzz-examples 50 $(ARGS)

trust-sdk: development ## 500 fault windows for the SDK's delivery (ARGS='--windows 50')
	@exec $(PYTHON) -m tests.trust.cus_sdk_campaign $(ARGS)

test-sdk-matrix: development ## Run the capture tests on the ends of every provider major (ARGS=--only openai1)
	@exec $(PYTHON) -m tests.sdk.cus_matrix $(ARGS)

test-frameworks: development ## Run frameworks without and with the SDK (ARGS='--only dspy', ARGS=--write)
	@exec $(PYTHON) -m tests.frameworks.cus_matrix $(ARGS)

test-provider-suites: development ## Run the providers' own tests without and with the SDK (ARGS='--only openai')
	@exec $(PYTHON) -m tests.frameworks.cus_provider_suites $(ARGS)

bench: development ## Measure ingest and totals beside what else one could do (ARGS=--full)
	@exec $(PYTHON) -m benchmarks $(ARGS)

bench-peers: development ## Measure ingest beside arize-phoenix and mlflow, which it installs
	@exec $(PYTHON) -m benchmarks --peers $(ARGS)

bench-enforcement: development ## Measure checks over HTTP, beside litellm's budget limiter (ARGS=--full)
	@exec $(PYTHON) -m benchmarks --enforcement $(ARGS)

bench-limits: development ## Measure what limits at scopes cost checks and ingest (ARGS=--full)
	@exec $(PYTHON) -m benchmarks --scopes $(ARGS)

bench-sdk: development ## Measure what the SDK costs a program, beside peers it installs (ARGS=--full)
	@exec $(PYTHON) -m benchmarks.cus_sdk $(ARGS)

lease-replay: development ## How much of a budget leases and estimates leave usable (ARGS='--trace FILE')
	@exec $(PYTHON) -m benchmarks.cus_lease_replay $(ARGS)

bench-reads: development ## Measure reads of API and console at 10 million rows, and rollups (ARGS="--rows 1000000")
	@exec $(PYTHON) -m benchmarks.cus_reads $(ARGS)

bench-seals: development ## Measure sealing and verifying a day (ARGS="--rows 10000")
	@exec $(PYTHON) -m benchmarks.cus_seals $(ARGS)

estimate-error: development ## How far estimates of calls are from their bills, on the corpus of bills
	@exec $(PYTHON) -m tests.corpus.cus_estimate_error

bench-scrape: development ## Measure scrapes of /metrics with 1,000 integrations (ARGS="--rounds 50")
	@exec $(PYTHON) -m benchmarks.cus_scrape $(ARGS)

forecast-error: development ## The error of the forecast of a month's cost, beside a naive one (ARGS='--trace FILE')
	@exec $(PYTHON) -m benchmarks.cus_forecast $(ARGS)

test-observability: development ## Try alerts and dashboards on a real Prometheus and Alertmanager
	@exec $(PYTHON) -m pytest -n 0 -q tests/observability/cus_stack.py $(ARGS)

prices-diff: development ## Compare the price table with the newest genai-prices and LiteLLM
	@exec $(PYTHON) -m benchmarks.cus_prices_diff $(ARGS)

lock: development ## Pin what pyproject.toml asks for (existing pins stay)
	@$(PYTHON) -m pip install -q --disable-pip-version-check uv
	$(LOCK) -o requirements.txt
	$(LOCK) --group dev -c requirements.txt -o requirements-dev.txt

clean: ## Remove the virtual environment, caches and ALL local data
	@bin/clean

runtime:
	@bin/bootstrap requirements.txt

development:
	@bin/bootstrap requirements-dev.txt

# `make help` lists the targets. Two commands are all the set-up there is: `make demo` and `make test`.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
# uv installs the locked packages in parallel; where it cannot reach the index that pip is configured for, pip does the same.
INSTALL = install() { $(BIN)/uv pip install --python $(BIN)/python "$$@" || $(BIN)/python -m pip install "$$@"; }; install
export VIRTUAL_ENV := $(abspath $(VENV))
# uv trusts whom the machine trusts, as pip does: a company's proxy has a certificate of its own.
export UV_SYSTEM_CERTS := 1

.PHONY: help demo test check bench soak fuzz up down clean lock lock-jars install install-dev install-spark jars jars-s3 jars-spark jars-spark-kafka peers chromium azurite slapd nftables atheris format screenshots

help:  ## list the targets
	@awk 'BEGIN {FS = ":.*##"} /^[a-z-]+:.*##/ {printf "  %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(if $(filter spark,$(COMPUTE)),install-spark,install) jars $(if $(filter s3,$(LAKE)),jars-s3)  ## start everything and watch real images travel (LAKE=s3, COMPUTE=spark)
	$(if $(COMPUTE),DARKROOM_COMPUTE=$(COMPUTE)) $(BIN)/darkroom up $(if $(LAKE),--lake $(LAKE))
	$(BIN)/darkroom demo

test: install-dev jars jars-s3 jars-spark chromium azurite slapd nftables atheris  ## every test, against real servers of its own
	$(BIN)/python -m pytest $(LANES)
# The stack's tests mostly wait: those that need none run beside them (tests/lanes.py). A worker that crashes ends the run.
LANES = --numprocesses 2 --max-worker-restart 0

check: install-dev  ## format, lint, types, floors, secrets
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --disable-plugin KeywordDetector --exclude-files $(NO_SECRETS)
# Test vectors have keys of their own, and lock files hashes; that a line speaks of a password is no finding.
NO_SECRETS = '^(tests/vectors/|requirements|jvm/jars.sha256)'

format: install-dev  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install-dev jars jars-spark jars-spark-kafka peers  ## measure, as ratios in one run; the figures into docs/benchmarks.md (ONLY="landing keys")
	$(BIN)/python -m benchmarks --page docs/benchmarks.md $(ONLY)

soak: install-dev jars nftables  ## load, and faults at random; the figures into docs/soak.md (MINUTES=30 SEED=7)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED)) --page docs/soak.md

fuzz: $(VENV)/.fuzz  ## search where bytes are parsed for what breaks it, guided by coverage (TARGET=envelope SECONDS=60)
	$(BIN)/python -m tests.fuzz $(or $(TARGET),all) --seconds $(or $(SECONDS),60)

up: install jars  ## start the stack
	$(BIN)/darkroom up

down:  ## stop the stack; data stays
	$(BIN)/darkroom down

clean:  ## remove what was built; the stack's data stays (`darkroom wipe` removes it)
	rm -rf $(VENV) $(PEERS) jvm/target build dist .ruff_cache .pytest_cache .hypothesis

lock: $(VENV)/.build  ## resolve the requirements anew into the five lock files
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(LOCK) --extra spark --extra dev pyproject.toml -o requirements-dev.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(LOCK) -c requirements-dev.lock pyproject.toml -o requirements.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(LOCK) -c requirements-dev.lock --group build -o requirements-build.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(LOCK) --group peers -o requirements-peers.lock
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile $(LOCK) --group fuzz -o requirements-fuzz.lock
LOCK = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet

lock-jars:  ## keep the hashes of the jars in jvm/target, after a pom.xml was changed on purpose
	@$$(stack/preflight.sh) stack/jars.py --write kafka directory s3 spark spark-kafka

install: $(VENV)/.core
install-dev: $(VENV)/.dev
install-spark: install-dev jars-spark
jars: jvm/target/.copied jvm/target/.directory-copied
jars-s3: jvm/target/.s3-copied
jars-spark: jvm/target/.spark-copied jvm/target/.spark-archived
jars-spark-kafka: jvm/target/.spark-kafka-copied
peers: $(PEERS)/.installed

$(VENV)/.build: requirements-build.lock stack/preflight.sh
	@python=$$(stack/preflight.sh) && { [ -x $(BIN)/python ] || "$$python" -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-build.lock
	@touch $@

$(VENV)/.core: $(VENV)/.build requirements.lock pyproject.toml
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Only where it needs no question: as root on Debian. Elsewhere the browser's tests skip and say so.
chromium:
	@command -v chromium >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 \
		&& apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends chromium; } \
		|| echo "Chromium was not found and not installed: the browser's tests will skip."

# As above, and never where an installed slapd would be started as a service of the machine.
slapd:
	@command -v slapd >/dev/null 2>&1 || [ -x /usr/sbin/slapd ] || { [ "$$(id -u)" = 0 ] && [ ! -d /run/systemd/system ] \
		&& command -v apt-get >/dev/null 2>&1 && apt-get update --quiet=2 \
		&& DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends slapd; } \
		|| echo "slapd was not found and not installed: the directory's tests against it will skip."

# As above; the soak cuts links in a network of its own.
nftables:
	@command -v nft >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && apt-get update --quiet=2 \
		&& DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends nftables iproute2; } \
		|| echo "nft was not found and not installed: the soak will cut no links."

# There are wheels for Linux on x86-64 alone.
atheris: $(VENV)/.dev
	@$(MAKE) --no-print-directory --silent $(VENV)/.fuzz || echo "atheris was not installed: the test of its search will skip."

# Azure's storage as a local server, for the lake's tests alone; without npm they skip and say so.
azurite: $(VENV)/.dev
	@[ -d $(VENV)/azurite/node_modules/azurite ] || { command -v npm >/dev/null 2>&1 \
		&& npm install --prefix $(VENV)/azurite --no-audit --no-fund --no-package-lock --loglevel error azurite@3.35.0; } \
		|| echo "npm was not found, or could not install Azurite: the lake's tests on Azure's storage will skip."

screenshots: install-dev  ## take the README's pictures from the running demo
	$(BIN)/python docs/screenshots.py "$${DARKROOM_HOME:-.darkroom}" docs/screenshots

# Beside, for they want other versions than Darkroom does.
$(PEERS)/.installed: $(VENV)/.build requirements-peers.lock
	$(BIN)/python -m venv $(PEERS)
	$(BIN)/uv pip install --python $(PEERS)/bin/python --require-hashes -r requirements-peers.lock || $(PEERS)/bin/python -m pip install --require-hashes -r requirements-peers.lock
	@touch $@

# pyspark comes as source: without isolation it is built by the locked setuptools.
$(VENV)/.dev: $(VENV)/.core requirements-dev.lock
	$(INSTALL) --require-hashes --no-build-isolation -r requirements-dev.lock
	@touch $@

# Of the tests' environment: a search runs what the tests run.
$(VENV)/.fuzz: $(VENV)/.dev requirements-fuzz.lock
	$(INSTALL) --require-hashes -r requirements-fuzz.lock
	@touch $@

jvm/target/.s3-copied: jvm/s3/pom.xml
	@stack/preflight.sh >/dev/null
	mvn --batch-mode --quiet --file jvm/s3/pom.xml package
	@$$(stack/preflight.sh) stack/jars.py s3
	@touch $@

jvm/target/.spark-copied: jvm/spark/pom.xml $(wildcard jvm/spark/src/main/java/io/darkroom/spark/*.java)
	@stack/preflight.sh >/dev/null
	mvn --batch-mode --quiet --file jvm/spark/pom.xml package
	@$$(stack/preflight.sh) stack/jars.py spark
	@touch $@

# A session that runs for a minute loads classes for half of it: they are kept, loaded. Without the archive Spark works as well.
jvm/target/.spark-archived: jvm/target/.spark-copied $(VENV)/.dev
	@echo "writing the classes that Spark begins with into an archive, for some 40 seconds"
	@$(BIN)/python -m stack.spark_archive >jvm/target/spark-archive.log 2>&1 \
		|| echo "No archive was written (jvm/target/spark-archive.log says why): Spark starts some seconds slower."
	@touch $@

jvm/target/.spark-kafka-copied: jvm/spark-kafka/pom.xml
	@stack/preflight.sh >/dev/null
	mvn --batch-mode --quiet --file jvm/spark-kafka/pom.xml package
	@$$(stack/preflight.sh) stack/jars.py spark-kafka
	@touch $@

jvm/target/.directory-copied: jvm/directory/pom.xml $(wildcard jvm/directory/src/main/java/io/darkroom/directory/*.java)
	@stack/preflight.sh >/dev/null
	mvn --batch-mode --quiet --file jvm/directory/pom.xml package
	@$$(stack/preflight.sh) stack/jars.py directory
	@touch $@

jvm/target/.copied: jvm/pom.xml
	@stack/preflight.sh >/dev/null
	mvn --batch-mode --quiet --file jvm/pom.xml package
	@$$(stack/preflight.sh) stack/jars.py kafka
	@touch $@

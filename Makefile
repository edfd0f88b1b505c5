# `make help` lists the targets. Nothing here asks a question; what the machine lacks, tools/need installs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(VENV)/bin/pip --quiet --disable-pip-version-check --no-input
FAST := $(wildcard ovng/_fast/*.pyx ovng/_fast/*.pxd ovng/_fast/*.h)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
KEEP := $(if $(SUDO),$(SUDO) --preserve-env)
PYTEST := -m pytest -q
CHROOTS := $(or $(OVNG_CHROOTS),build/chroot)

# What the debug build is for: tests that reach compiled code.
FAST_TESTS = $(shell grep -rlE 'ovng\._fast|ovng\.io\.(datapath|switchpath|tun)|ovng\.switch|tests\.(switch_fixture|datapath_rig|netns\.pair)' tests/unit tests/fuzz tests/netns --include='test_*.py')

.PHONY: all build bytecode demo test test-long test-release test-netns test-debug lint bench bench-mobility bench-mobility-long soak soak-mobility fuzz wheels test-wheels deb test-deb footprint clean help
.DEFAULT_GOAL := build

all build: $(VENV)/.built bytecode ## Build; the command is then .venv/bin/ovng
	@:

# As pip does it with a package: a start that has to compile the sources takes twice as long.
bytecode: $(VENV)/.built ## Compile the Python of the working copy, which `make` does too
	@$(PY) -m compileall -q ovng

demo: build ## A Switch, two nodes and a LAN host in namespaces; one node moves mid-transfer
	@tools/need demo
	@$(VENV)/bin/ovng demo

test: $(VENV)/.dev ## The whole suite (15 minutes at most): lint, release and debug build
	@tools/need test
	@$(MAKE) --jobs 3 --output-sync=target test-debug test-release test-netns lint
	@echo "== what measures time, by itself"
	@$(SUDO) $(PY) $(PYTEST) -m "alone and not long" tests/netns

test-release: $(VENV)/.dev ## All tests but those in namespaces
	@echo "== suite, release build"
	@$(SUDO) $(PY) $(PYTEST) -m "not long" --ignore tests/netns tests

test-netns: $(VENV)/.dev ## Tests in namespaces, but those that measure time
	@echo "== namespaces, release build"
	@$(SUDO) $(PY) $(PYTEST) -m "not alone and not long" tests/netns

test-long: $(VENV)/.dev ## The tests that take too long for every day
	@tools/need test
	@$(SUDO) $(PY) $(PYTEST) -m long --timeout 3600 tests

test-debug: $(VENV)/.dev ## Fast path tests on a build with bounds checks, assertions and sanitizers
	@echo "== fast path, debug build"
	@OVNG_DEBUG=1 tools/variant debug $(PY)
	@cd build/debug && $(SUDO) env LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:quarantine_size_mb=8 UBSAN_OPTIONS=print_stacktrace=1 \
		$(CURDIR)/$(PY) $(PYTEST) -m "not alone and not long" --timeout 600 $(FAST_TESTS)

lint: $(VENV)/.dev ## Format, lint and types
	@echo "== ruff, mypy"
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy

bench: $(VENV)/.dev bytecode ## ovng beside others, the Switch alone, the parts; verdicts (10 minutes; BENCH="--starts 5": longer)
	@tools/need bench
	@$(PY) -m benchmarks.instructions
	@$(KEEP) $(PY) -m benchmarks.micro
	@$(KEEP) $(PY) -m benchmarks $(BENCH)
	@$(KEEP) $(PY) -m benchmarks.switch
	@$(PY) -m benchmarks.conclude

bench-mobility: $(VENV)/.dev bytecode ## What moves, gaps and restarts cost, ovng beside others; verdicts and a picture (15 minutes)
	@tools/need bench
	@$(KEEP) $(PY) -m benchmarks.mobility $(MOBILITY)

bench-mobility-long: $(VENV)/.dev bytecode ## As bench-mobility, 30 runs of each scenario, gaps of a minute and of ten (2 hours)
	@tools/need bench
	@$(KEEP) $(PY) -m benchmarks.mobility --runs 30 --long $(MOBILITY)

soak: $(VENV)/.dev ## Ten minutes at full rate both ways with a rekey every 30 s (SOAK="--minutes 60": longer)
	@tools/need bench
	@$(SUDO) $(PY) -m benchmarks.soak $(SOAK)

soak-mobility: $(VENV)/.dev ## Half an hour of traffic with a handover every 5 s (SOAK="--minutes 5 --seed 2": shorter, others)
	@tools/need bench
	@$(SUDO) $(PY) -m benchmarks.mobility.soak $(SOAK)

fuzz: $(VENV)/.dev ## Coverage-guided fuzzing of every entry that takes network bytes (FUZZ_SECONDS each, 60)
	@$(PY) -c 'import atheris' 2>/dev/null || $(PIP) install atheris
	@$(PY) -m tests.fuzz.run --seconds $${FUZZ_SECONDS:-60}

wheels: $(VENV)/.wheels ## All wheels of wheels.yml, built here into dist/ (5 minutes; WHEELS="musllinux_armv7l": only these)
	@$(PY) tools/wheels.py build $(WHEELS)

test-wheels: $(VENV)/.dev $(VENV)/.wheels ## Wheels of other machines, their tests and services under qemu (root; WHEELS="manylinux_armv7l")
	@tools/need emulate
	@$(KEEP) $(PY) tools/emulated.py $(WHEELS)

footprint: $(VENV)/.dev $(VENV)/.wheels ## What an installed ovng takes: memory, start-up, bytes (2 minutes; armhf too after test-wheels)
	@tools/need bench
	@$(PY) tools/wheels.py build manylinux_$$(uname -m)
	@$(PY) -m venv --clear --without-pip build/footprint
	@$(PIP) --python build/footprint/bin/python install "$$(ls dist/*-manylinux_*_$$(uname -m).whl)[ca,poll]"
	@$(KEEP) $(PY) -m benchmarks.footprint build/footprint/bin/python $(if $(wildcard $(CHROOTS)/armhf/root/v),--chroot $(CHROOTS)/armhf)

deb: $(VENV)/.built $(VENV)/.wheels ## Debian packages for amd64, arm64 and armhf into dist/ (DEB="arm64": only this one)
	@tools/need deb
	@$(PY) tools/deb.py $(DEB)

test-deb: $(VENV)/.dev deb ## The package on machines with systemd of their own, and on arm64 by qemu (10 minutes; root)
	@tools/need test-deb
	@$(SUDO) tools/machine amd64 build/machine-amd64
	@mkdir -p $(CHROOTS)
	@$(SUDO) tools/chroot arm64 $(CHROOTS)/arm64
	@$(KEEP) $(PY) $(PYTEST) --timeout 900 tests/packaging/test_machines.py tests/packaging/test_arm.py

clean: ## Remove everything that was built
	@$(SUDO) rm -rf build dist $(VENV) *.egg-info .mypy_cache .ruff_cache .hypothesis benchmarks/out
	@find ovng tests -name '*.so' -delete -o -name __pycache__ -prune -exec $(SUDO) rm -rf {} +

help: ## This list
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^(all )?([a-z-]+).*## /\2\t/' | expand -t 16

# -- Stamps: a second run does only what changed.

$(VENV)/.venv: pyproject.toml tools/python
	@tools/need build
	@[ -x $(PY) ] || "$$(tools/python)" -m venv $(VENV)
	@$(PIP) install 'setuptools>=77' 'cython>=3.1'
	@touch $@

$(VENV)/.wheels: $(VENV)/.venv
	@$(PIP) install $$($(PY) tools/extras.py wheels)
	@touch $@

# The command and its dependencies. Installing compiles too, so the next rule has nothing left to do. A plain path (compat)
# instead of an import hook: the hook takes 40 ms of each start.
$(VENV)/.installed: $(VENV)/.venv setup.py
	@echo "== building (a minute)"
	@$(PIP) install --no-build-isolation --config-settings editable_mode=compat --editable '.[ca]'
	@touch $@ $(VENV)/.built

$(VENV)/.built: $(VENV)/.installed $(FAST)
	@$(PY) setup.py -q build_ext --inplace >/dev/null
	@touch $@

$(VENV)/.dev: $(VENV)/.built
	@[ $@ -nt $(VENV)/.venv ] || $(PIP) install --no-build-isolation $$($(PY) tools/extras.py dev)
	@touch $@

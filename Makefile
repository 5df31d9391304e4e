# make demo and make test need this directory, Python 3.9 to 3.13 and make, and nothing else.

# TensorFlow 2.15 with its addons, on Python 3.9-3.11, is preferred to the newer stack.
supported = import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, $(1)))
find_python = for python in python3 python3.11 python3.10 python3.9; do \
    $$python -c "$(call supported,11)" 2>/dev/null && { command -v $$python; exit; }; done; \
  for python in python3 python3.13 python3.12; do \
    $$python -c "$(call supported,13)" 2>/dev/null && { command -v $$python; exit; }; done

# The newer stack is tested next to the preferred one where there is a Python for it, also of pyenv.
find_newer = "$(PYTHON)" -c "$(call supported,11)" && \
  for python in python3.12 python3.13 $(sort $(wildcard $(HOME)/.pyenv/versions/3.1[23].*/bin/python)); do \
    $$python -c "$(call supported,13)" 2>/dev/null && { command -v $$python; exit; }; done

PYTHON ?= $(shell $(find_python))
VENV ?= .venv
RUN = $(VENV)/bin/python
# Quick tests run in so many processes, a file's tests in one of them, in the order of tests/conftest.py.
JOBS ?= 2
PYTEST = $(RUN) -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

.PHONY: setup setup-newer demo test test-slow test-newer chaos notebooks lint package

setup: $(VENV)/ready

# The file ready is written last, so that an interrupted installation starts again.
$(VENV)/ready: requirements.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.9 to 3.13 is needed, but none was found" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# TensorFlow 2.21, in a virtual environment next to the first.
setup-newer:
	@newer=$$($(find_newer)); \
	if test -n "$$newer"; then $(MAKE) setup VENV=$(VENV)-newer PYTHON="$$newer"; fi

demo: setup
	$(RUN) -m tf_simclrv2.programs.demo

test: setup
	$(PYTEST) -m "not slow and not chaos" $(PYTEST_FLAGS)

# Clusters and faults one after the other: the other workers give up on one that gets no processor
# time for ten seconds.
test-slow: setup
	$(PYTEST) -m "slow and not cluster and not chaos" $(PYTEST_FLAGS)
	$(RUN) -m pytest -m "slow and (cluster or chaos)" $(PYTEST_FLAGS)

# Faults from outside: kills, signals, damage, hostile flags and images. Takes long.
chaos: setup
	$(PYTEST) -m chaos tests/chaos $(PYTEST_FLAGS)

# The quick tests on TensorFlow 2.21.
test-newer: setup-newer
	@if test -f $(VENV)-newer/ready; then $(MAKE) test VENV=$(VENV)-newer; \
	else echo "not run: tests on TensorFlow 2.21, which need Python 3.12 or 3.13 next to $(VENV)"; fi

# From top to bottom, each in a kernel of its own.
notebooks: setup
	PYTHONPATH=$(CURDIR) $(RUN) -m pytest --nbmake --nbmake-timeout=1200 examples $(PYTEST_FLAGS)

# The wheel and the source distribution, in dist/.
package: setup
	$(RUN) -m build --no-isolation

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

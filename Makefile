# make demo and make test need nothing but this file's directory, Python 3.9-3.13 and make.

# TensorFlow 2.15 with its addons, on Python 3.9-3.11, is preferred to the newer stack.
supported = import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, $(1)))
find_python = for python in python3 python3.11 python3.10 python3.9; do \
    $$python -c "$(call supported,11)" 2>/dev/null && { command -v $$python; exit; }; done; \
  for python in python3 python3.13 python3.12; do \
    $$python -c "$(call supported,13)" 2>/dev/null && { command -v $$python; exit; }; done

# The newer stack is tested beside the preferred one where there is a Python for it, also of pyenv.
find_newer = $(RUN) -c "$(call supported,11)" && \
  for python in python3.12 python3.13 $(sort $(wildcard $(HOME)/.pyenv/versions/3.1[23].*/bin/python)); do \
    $$python -c "$(call supported,13)" 2>/dev/null && { command -v $$python; exit; }; done

PYTHON ?= $(shell $(find_python))
VENV ?= .venv
RUN = $(VENV)/bin/python
# Quick tests run in so many processes, a file's tests in one of them.
JOBS ?= 2
PYTEST = $(RUN) -m pytest --numprocesses=$(JOBS) --dist=loadfile

.PHONY: setup demo test test-slow test-newer lint

setup: $(VENV)/ready

# The file ready is made last, so that an interrupted installation is begun anew.
$(VENV)/ready: requirements.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.9 to 3.13 is needed, but none was found" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

demo: setup
	$(RUN) -m tf_simclrv2.programs.demo

test: setup
	$(PYTEST) -m "not slow" $(PYTEST_FLAGS)

# One after the other: many take all cores by themselves, and workers of a cluster that are kept from
# the processor for ten seconds are given up by the others.
test-slow: setup
	$(RUN) -m pytest -m slow $(PYTEST_FLAGS)

# The same tests on TensorFlow 2.21, in a virtual environment beside the first.
test-newer: setup
	@newer=$$($(find_newer)); \
	if test -n "$$newer"; then $(MAKE) test VENV=$(VENV)-newer PYTHON="$$newer"; \
	else echo "not run: tests on TensorFlow 2.21, for want of Python 3.12 or 3.13 beside $(VENV)"; fi

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

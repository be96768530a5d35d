# Two commands from a fresh clone:
#   make run     sets everything up and opens the window (without a display: runs the demo in the terminal)
#   make test    sets everything up and runs every check
# PYTHON=python3.12 make run takes that Python instead of the first suitable one.

SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
export PYTHON

.PHONY: run test
run test:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14); do \
	    if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then exec "$$python" scripts/setup.py $@; fi; \
	done; \
	echo "CARTL Workbench needs Python 3.11 to 3.14, and $(or $(PYTHON),python3) is none of them" \
	    "($$($(or $(PYTHON),python3) --version 2>/dev/null || echo not found));" \
	    "install one, or name one: PYTHON=python3.12 make $@" >&2; \
	exit 1

# make demo    a sample conversation, diarized: turns, RTTM, a picture, the error against the exact reference
# make test    lint, types, tests
# make bench   the tables of the README; make bench-live those about live use; bench-long, bench-identification, bench-embedder,
#                bench-segmentation the others; bench-thresholds those of docs/models.md and docs/people.md
# make lint    lint and types only
# make clean   remove everything that the other targets made
#
# Each target first installs what it needs into .venv, once, at the versions of constraints.txt.
#   PYTHON=python3.12                    which Python makes .venv (3.11 or later)
#   PIP_ARGS="--extra-index-url URL"     passed to every pip install, for instance for the CPU build of torch
#   TEST_ARGS="tests/test_x.py -k y"     passed to pytest

PYTHON ?= python3
PIP_ARGS ?=
TEST_ARGS ?= -n auto --maxprocesses 8 --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --constraint constraints.txt $(PIP_ARGS)
SAMPLE := examples/sample/conversation

.PHONY: demo test lint bench bench-live bench-long bench-identification bench-embedder bench-segmentation bench-thresholds clean
.NOTPARALLEL:      # two installations into one .venv would meet
.DELETE_ON_ERROR:  # no half-made .venv is taken for a whole one

demo: $(VENV)/demo.stamp
	@mkdir -p demo
	$(BIN)/diarize file $(SAMPLE).flac -o demo/ --plot demo/conversation.png
	@echo "Who spoke when:"
	@awk '{ printf "  %6.2f - %6.2f s  %s\n", $$4, $$4 + $$5, $$8 }' demo/conversation.rttm
	$(BIN)/diarize score $(SAMPLE).rttm demo/conversation.rttm
	@echo "The turns are in demo/conversation.rttm, their picture in demo/conversation.png,"
	@echo "the exact reference in $(SAMPLE).rttm, the audio in $(SAMPLE).flac."

test: lint
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/bench.stamp
	$(BIN)/python examples/benchmark.py
	$(BIN)/python examples/clustering_benchmark.py

bench-live: $(VENV)/bench.stamp
	$(BIN)/python examples/live_benchmark.py

bench-identification: $(VENV)/bench.stamp
	$(BIN)/python examples/identification_benchmark.py

bench-embedder: $(VENV)/bench.stamp
	$(BIN)/python examples/embedder_benchmark.py --real

bench-segmentation: $(VENV)/bench.stamp
	$(BIN)/python examples/segmentation_benchmark.py --real

bench-thresholds: $(VENV)/bench.stamp
	$(BIN)/python examples/thresholds_benchmark.py

bench-long: $(VENV)/bench.stamp
	$(BIN)/python examples/long_benchmark.py

clean:
	rm -rf $(VENV) demo build dist .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("diarize needs Python 3.11 or later, and $(PYTHON) is %d.%d: say which to use, as in make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)

# the build backend comes from constraints.txt too, so the package is built without isolation
$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	@echo "Installing into $(VENV) (once)"
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --editable .
	@touch $@

# speechbrain declares torchaudio, which its network does not use, and Resemblyzer webrtcvad, which needs a compiler:
# they go in without their dependencies
$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(PIP) --no-build-isolation --editable '.[bench,dev]'
	$(PIP) --no-deps speechbrain Resemblyzer
	@touch $@

$(VENV)/bench.stamp: $(VENV)/demo.stamp
	$(PIP) --no-build-isolation --editable '.[bench]'
	$(PIP) --no-deps Resemblyzer
	@touch $@

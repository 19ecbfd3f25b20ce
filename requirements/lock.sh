#!/bin/sh
# Write the locked requirements: the version of every package of a group, and the hashes of all of its files. Versions stay
# where pyproject.toml allows them; arguments go to `uv pip compile`: --upgrade, or --upgrade-package NAME.
set -eu
cd "$(dirname "$0")/.."
compile() {
    # For every platform and Python that the package supports; no package index is named.
    .venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
        --custom-compile-command "make lock" "$@"
}
without_torch="--universal --overrides requirements/without-torch.in"
# shellcheck disable=SC2086  # several arguments
compile $without_torch pyproject.toml requirements/build.in requirements/uv.in --extra dev -o requirements/dev.txt "$@"
# shellcheck disable=SC2086
compile $without_torch -c requirements/dev.txt pyproject.toml --extra server -o requirements/server.txt
compile --universal -c requirements/dev.txt pyproject.toml --extra postgres --extra s3 -o requirements/stores.txt
compile --universal -c requirements/dev.txt pyproject.toml -o requirements/client.txt
for name in build uv; do
    compile --universal -c requirements/dev.txt "requirements/$name.in" -o "requirements/$name.txt"
done
compile --universal -c requirements/dev.txt requirements/torch.in -o requirements/torch-cuda.txt "$@"
# Windows needs what a CPU build needs on Linux, and none of CUDA's packages. The hashes are of all platforms' files.
compile --python-platform windows -c requirements/torch-cuda.txt requirements/torch.in -o requirements/torch-cpu.txt
for name in weights demo-image demo-text demo-table demo-audio test-data tritonclient; do
    compile --universal --no-deps "requirements/$name.in" -o "requirements/$name.txt" "$@"
done

#!/bin/sh
# Install the locked torch and torchvision: torch.sh PYTHON cpu|cuda
#
# `cuda` takes the files that the locked hashes name. On Linux those need CUDA's packages; the CPU builds lie on PyTorch's
# own index, are other files, and are pinned by their version alone. A build that pip's find-links has comes before it.
set -eu
python=$1 kind=$2 folder=$(dirname "$0")
install="$python -m pip --disable-pip-version-check install --quiet"
if [ "$kind" = cpu ] && [ "$(uname)" = Linux ]; then
    torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$folder/torch-cpu.txt")
    torchvision=$(sed -n 's/^\(torchvision==[^ ]*\).*/\1/p' "$folder/torch-cpu.txt")
    if ! $install --no-index --no-deps "$torch" 2>/dev/null; then
        echo "pip's find-links has no $torch: taking the CPU builds from PyTorch's own index"
        $install --require-hashes -r "$folder/uv.txt"
        "$python" -m uv pip install --quiet --python "$python" --torch-backend cpu --no-deps "$torch" "$torchvision"
    fi
fi
$install --require-hashes -r "$folder/torch-$kind.txt"

#!/usr/bin/env bash
# On a machine with a CUDA GPU: holds what the GPU gives against what the
# processor gives, and prints what both take. Builds nothing: bring a binary.
#
#   REFRAIN=refrain scripts/gpu_check.sh          # or refrain.xz, packed with `strip -s` and `xz`
#   GPU=1 SIZE=small scripts/gpu_check.sh         # another GPU; a world of seconds
#
# Record what it prints in docs/benchmarks.md; docs/gpu.md says how.
set -euo pipefail
cd "$(dirname "$0")/.."
refrain="${REFRAIN:-target/release/refrain}"
gpu="${GPU:-0}"

if ! command -v nvidia-smi >/dev/null; then
    echo "error: nvidia-smi is not here: this check needs a machine with an NVIDIA GPU and its driver" >&2
    exit 2
fi
if [ ! -f "$refrain" ]; then
    echo "error: there is no binary at $refrain; set REFRAIN to one that was built elsewhere (docs/gpu.md)" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ "${refrain%.xz}" != "$refrain" ]; then
    xz -dc "$refrain" > "$folder/refrain"
    chmod +x "$folder/refrain"
    refrain="$folder/refrain"
fi
refrain=$(realpath "$refrain")

card=$(nvidia-smi -i "$gpu" --query-gpu=name --format=csv,noheader)
echo "date: $(date -u +%Y-%m-%d)"
echo "card: $card, driver $(nvidia-smi -i "$gpu" --query-gpu=driver_version --format=csv,noheader)"
echo "refrain: $("$refrain" --version)"
# Memory, and dense float32 without tensor cores, by the makers' data sheets. Refrain's own products of 32-bit floats are three
# of TF32 on the tensor cores where a card has them (docs/gpu.md): a third of their TF32 is above this for the newer cards,
# so a share beyond 100 % is possible there and no mistake.
limits=
case "$card" in
    *H200*) limits=67000,4800 ;;
    *H100*PCIe*) limits=51000,2000 ;;
    *H100*) limits=67000,3350 ;;
    *A100*80GB*) limits=19500,1935 ;;
    *A100*) limits=19500,1555 ;;
    *L4) limits=30300,300 ;;
    *4090*) limits=82600,1008 ;;
esac
echo "limits: ${limits:-not known for this card; look them up in its data sheet} (GFLOP/s of float32 without tensor cores, GB/s)"

size=(--full)
[ "${SIZE:-full}" = small ] && size=()
failed=0
# `--device cuda` is an error where CUDA does not work, so nothing is skipped unseen.
"$refrain" device --device "cuda:$gpu" --check "${size[@]}" ${limits:+--limits "$limits"} || failed=$?

if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "PyTorch, the same step, compiled:"
    CUDA_VISIBLE_DEVICES="$gpu" python3 docs/bench/two_tower.py --device cuda --compile --epochs 5 || failed=1
else
    echo "PyTorch with CUDA is not installed: nothing to compare the times with"
fi
exit "$failed"

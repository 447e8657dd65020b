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
# Dense float32 without tensor cores, and memory, by the makers' data sheets.
case "$card" in
    *H200*) echo "limits: 67000 GFLOP/s, 4800 GB/s" ;;
    *H100*PCIe*) echo "limits: 51000 GFLOP/s, 2000 GB/s" ;;
    *H100*) echo "limits: 67000 GFLOP/s, 3350 GB/s" ;;
    *A100*80GB*) echo "limits: 19500 GFLOP/s, 1935 GB/s" ;;
    *A100*) echo "limits: 19500 GFLOP/s, 1555 GB/s" ;;
    *L4) echo "limits: 30300 GFLOP/s, 300 GB/s" ;;
    *4090*) echo "limits: 82600 GFLOP/s, 1008 GB/s" ;;
    *) echo "limits: not known for this card; look them up in its data sheet" ;;
esac

size=(--full)
[ "${SIZE:-full}" = small ] && size=()
failed=0
# `--device cuda` is an error where CUDA does not work, so nothing is skipped unseen.
"$refrain" device --device "cuda:$gpu" --check "${size[@]}" || failed=$?

if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "PyTorch, the same step, compiled:"
    CUDA_VISIBLE_DEVICES="$gpu" python3 docs/bench/two_tower.py --device cuda --compile || failed=1
else
    echo "PyTorch with CUDA is not installed: nothing to compare the times with"
fi
exit "$failed"

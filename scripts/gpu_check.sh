#!/usr/bin/env bash
# On a machine with a CUDA GPU: embeds the demo's texts on the GPU and on the
# processor, says what each took, and holds the GPU's vectors against the golden
# ones. `make gpu-check` builds refrain and calls this; record what it prints,
# with the date, in docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."
refrain="${REFRAIN:-target/release/refrain}"

if ! command -v nvidia-smi >/dev/null; then
    echo "error: nvidia-smi is not here: this check needs a machine with an NVIDIA GPU and its driver" >&2
    exit 2
fi
echo "date: $(date -u +%Y-%m-%d)"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | sed 's/^/card, driver: /'
"$refrain" model fetch >/dev/null

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for device in cuda cpu; do
    # `--device cuda` is an error where CUDA does not work, so nothing is skipped unseen.
    "$refrain" --artifacts "$folder/$device" run pipelines/demo.yaml --target vectors --device "$device" --json \
        > "$folder/$device.jsonl" 2>/dev/null
    awk -v device="$device" '
        /"event":"stage_finished"/ && /"stage":"vectors@/ {
            if (match($0, /"seconds":[0-9.e-]+/)) total += substr($0, RSTART + 10, RLENGTH - 10)
        }
        END { printf "embedding the demo, %s: %.2f s\n", device, total }' "$folder/$device.jsonl"
done
cargo test --release --locked --lib vectors_agree_with_sentence_transformers_on_the_gpu

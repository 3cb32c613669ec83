#!/usr/bin/env bash
# Every fuzz target for so many seconds. A finding stops the script and stands in fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-180}"
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "the nightly toolchain and cargo-fuzz are needed: rustup toolchain install nightly; cargo install cargo-fuzz" >&2
  exit 69
fi
for target in $(cargo +nightly fuzz list); do
  echo "== $target, $seconds s"
  # what it learns goes to out/; what is worth keeping is moved to fuzz/corpus/ by hand
  mkdir -p "out/fuzz/$target" "fuzz/corpus/$target"
  cargo +nightly fuzz run "$target" "out/fuzz/$target" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -print_final_stats=1
done

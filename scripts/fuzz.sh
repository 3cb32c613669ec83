#!/usr/bin/env bash
# Fuzz targets for so many seconds each, one after another on one core: scripts/fuzz.sh SECONDS [TARGET…], by default all
# of them. A finding stops the script and stands in fuzz/artifacts/. KEEP=1 brings what was learnt into fuzz/corpus/,
# the smallest inputs that reach what all reach together.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-180}"
shift || true
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "the nightly toolchain and cargo-fuzz are needed: rustup toolchain install nightly; cargo install cargo-fuzz" >&2
  exit 69
fi
export FUZZ_ROOT="$PWD/fuzz"
# our crates have no unsafe code: what a sanitizer would cost is better spent on inputs
host=$(rustc -vV | sed -n 's/^host: //p')
cargo +nightly fuzz build -s none
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
for target in "$@"; do
  echo "== $target, $seconds s"
  learnt="out/fuzz/$target"
  mkdir -p "$learnt" "fuzz/corpus/$target" "fuzz/artifacts/$target"
  run="fuzz/target/$host/release/$target"
  # -timeout: an input that takes a second is a finding
  "$run" "$learnt" "fuzz/corpus/$target" -max_total_time="$seconds" -max_len=4096 -timeout=1 -rss_limit_mb=1024 \
    -dict=fuzz/words.dict -artifact_prefix="fuzz/artifacts/$target/" -print_final_stats=1 2>"out/fuzz/$target.log" || {
    tail -40 "out/fuzz/$target.log" >&2
    exit 1
  }
  grep -E 'stat::number_of_executed_units|DONE' "out/fuzz/$target.log"
  if [ -n "${KEEP:-}" ]; then
    rm -rf "out/fuzz/$target.kept" && mkdir -p "out/fuzz/$target.kept"
    "$run" -merge=1 -max_len="${KEEP_BYTES:-512}" "out/fuzz/$target.kept" "fuzz/corpus/$target" "$learnt" 2>>"out/fuzz/$target.log"
    cp -n "out/fuzz/$target.kept"/* "fuzz/corpus/$target/"
  fi
done

#!/usr/bin/env bash
# Instructions of the message path and the fan-out path, counted by Valgrind and compared with the kept ones
# (bench/count/instructions.txt): scripts/counts.sh [--renew]. Fails where one differs by more than 5 %.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
if ! need "Valgrind" valgrind valgrind --version; then
  echo "!! NOT CHECKED: what a message costs. Valgrind is not here and could not be installed." >&2
  echo "counts skipped"
  exit 0
fi
cargo build --locked --release -p portcullis-count
"${CARGO_TARGET_DIR:-target}/release/portcullis-count" count "$@"

#!/usr/bin/env bash
# Instructions of the message path and the fan-out path, counted by Valgrind and compared with the kept ones
# (bench/count/instructions.txt): scripts/counts.sh [--renew]. Fails where one differs by more than 5 %; with SHOW_ONLY=1 it
# says so and succeeds.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
if ! need "Valgrind" valgrind valgrind --version; then
  echo "!! NOT CHECKED: what a message costs. Valgrind is not here and could not be installed." >&2
  echo "counts skipped"
  exit 0
fi
cargo build --locked --release -p portcullis-count
if ! "${CARGO_TARGET_DIR:-target}/release/portcullis-count" count "$@"; then
  [ -n "${SHOW_ONLY:-}" ] || exit 1
  echo "!! CHANGED: what a message costs (see above). make counts fails on it; make counts-renew keeps it." >&2
fi

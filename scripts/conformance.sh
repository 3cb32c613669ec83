#!/usr/bin/env bash
# Judges from outside: every case of the Autobahn suite that the runner knows against a release build, and the stores' conformance suite.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
cargo test --locked --workspace --test conformance --test ledger_simulation || failed=1
cargo build --locked --release -p portcullis-gateway || exit 1
GATEWAY=target/release/portcullis-gateway scripts/autobahn.sh "$@" || failed=1
exit "$failed"

#!/usr/bin/env bash
# The Autobahn suite against /diagnostics/echo of a gateway that this script starts and ends; arguments go to
# tests/autobahn/run.py. The gateway has to be built.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
. scripts/gateway.sh
need_python || exit 69
trap stop_gateway EXIT
start_gateway echo || exit 1
python3 tests/autobahn/run.py --port "$PORT" "$@"

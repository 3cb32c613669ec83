#!/usr/bin/env bash
# The browser test against a development gateway that this script starts and ends. The gateway has to be built.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
. scripts/gateway.sh
need_python && need_browser || exit 69
trap stop_gateway EXIT
start_gateway dev || exit 1
OUT="${OUT:-$PWD/out/browser}" tests/browser/run.sh "http://127.0.0.1:$PORT"

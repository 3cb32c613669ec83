#!/usr/bin/env bash
# Image, docker-compose.yml and Helm chart: linted, rendered, judged by their schemas, and run without containers. Arguments
# are words of the checks' names. The programs have to be built.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need_python && need_redis && need_balancers && need_deploy || exit 69
# where Debian puts daemons
export PATH="$PATH:/usr/sbin"
exec python3 tests/deploy/run.py "$@"

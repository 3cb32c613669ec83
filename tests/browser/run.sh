#!/bin/sh
# Runs the browser test against a running development gateway: tests/browser/run.sh http://127.0.0.1:8080
# Installs what is missing: Debian's chromium, and the one npm package of the lock file. Screenshots go to $OUT
# (default out/browser/ at the top of the repository).
set -eu
[ $# -eq 1 ] || { echo "usage: $0 URL" >&2; exit 64; }
cd "$(dirname "$0")"
command -v node >/dev/null || { echo "node 20 or newer is needed" >&2; exit 69; }
if [ -z "${CHROMIUM:-}" ] && ! [ -x /usr/bin/chromium ]; then
  [ "$(id -u)" -eq 0 ] || { echo "chromium is missing: apt-get install chromium, or set CHROMIUM" >&2; exit 69; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --silent
PORTCULLIS_URL="$1" exec npm test --silent

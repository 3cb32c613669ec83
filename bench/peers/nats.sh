#!/bin/sh
# NATS with a WebSocket listener, no authorisation. NATS_SERVER names the program; scripts/bench-peers.sh installs it.
server="${NATS_SERVER:-$(dirname "$0")/venv/bin/nats-server}"
[ -x "$server" ] || { echo "nats-server is not installed: scripts/bench-peers.sh" >&2; exit 75; }
cat >"$FOLDER/nats.conf" <<CONF
listen: "127.0.0.1:$((PORT + 30))"
max_connections: 20000
ping_interval: "1h"
websocket { listen: "127.0.0.1:$PORT", no_tls: true, compression: false }
CONF
exec "$server" -c "$FOLDER/nats.conf"

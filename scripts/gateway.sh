# shellcheck shell=bash
# Sourced: starts a gateway on free ports, waits until it is ready, ends it by its process id.
#
#   start_gateway dev              the demo profile
#   start_gateway echo             a node whose /diagnostics/echo is open, for protocol suites
#   stop_gateway
#
# GATEWAY is the binary. PORT and PRIVATE_PORT are set when start_gateway returns 0. The log is $LOGS/gateway-KIND.log.

GATEWAY="${GATEWAY:-target/debug/portcullis-gateway}"
LOGS="${LOGS:-out/test}"
GATEWAY_PID=

free_ports() {
  python3 - <<'PY'
import socket
held = [socket.socket() for _ in range(2)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
}

is_ready() {
  python3 - "$1" <<'PY' 2>/dev/null
import sys, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health/ready", timeout=2)
PY
}

echo_config() {
  local dir="$1"
  head -c 48 /dev/urandom | base64 >"$dir/echo.secret"
  cat >"$dir/echo.toml" <<TOML
[node]
id = "echo"
[listen]
public = "127.0.0.1:$PORT"
private = "127.0.0.1:$PRIVATE_PORT"
diagnostics_echo = true
[tls]
mode = "off"
[origin]
missing = "allow"
[[auth.issuer]]
name = "none"
issuer = "https://nobody.invalid"
audience = "portcullis"
algorithms = ["HS256"]
secret_file = "echo.secret"
TOML
}

start_gateway() {
  local kind="$1" log try
  mkdir -p "$LOGS"
  log="$LOGS/gateway-$kind.log"
  # another process may take a port between its choice and its use: choose again
  for try in 1 2 3; do
    read -r PORT PRIVATE_PORT < <(free_ports)
    case "$kind" in
      dev) "$GATEWAY" dev --port "$PORT" --private-port "$PRIVATE_PORT" >"$log" 2>&1 & ;;
      echo) echo_config "$LOGS"; "$GATEWAY" run --config "$LOGS/echo.toml" >"$log" 2>&1 & ;;
      *) echo "no such gateway: $kind" >&2; return 64 ;;
    esac
    GATEWAY_PID=$!
    for _ in $(seq 150); do
      is_ready "$PRIVATE_PORT" && return 0
      kill -0 "$GATEWAY_PID" 2>/dev/null || break
      sleep 0.1
    done
    stop_gateway
    echo "the gateway did not become ready (try $try):" >&2
    tail -n 20 "$log" >&2
  done
  return 1
}

stop_gateway() {
  [ -n "$GATEWAY_PID" ] || return 0
  # the second signal ends a drain that clients hold up
  kill -TERM "$GATEWAY_PID" 2>/dev/null
  for _ in $(seq 20); do
    kill -0 "$GATEWAY_PID" 2>/dev/null || break
    sleep 0.1
  done
  kill -TERM "$GATEWAY_PID" 2>/dev/null
  wait "$GATEWAY_PID" 2>/dev/null
  GATEWAY_PID=
  return 0
}

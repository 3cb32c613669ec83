#!/usr/bin/env bash
# Redis and two gateways on this machine, until Ctrl-C. State and logs are in out/cluster; nothing outlives the script.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/need.sh
. scripts/need.sh
need "redis-server" redis-server redis-server --version

GATEWAY="${GATEWAY:-target/debug/portcullis-gateway}"
REDIS_PORT="${REDIS_PORT:-6390}"
dir="$PWD/out/cluster"
pids=()

stop() {
  trap - EXIT
  # gateways first, so that they leave while the store is there
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[$i]}" 2>/dev/null || true
    wait "${pids[$i]}" 2>/dev/null || true
  done
}
trap stop EXIT
trap 'exit 0' INT TERM

key() { head -c 32 /dev/urandom | base64; }

rm -rf "$dir"
mkdir -p "$dir"
chmod 700 "$dir"
key >"$dir/naming.key"
echo "k1:$(key)" >"$dir/cluster.key"
head -c 48 /dev/urandom | base64 -w0 >"$dir/app.secret"

config() {
  cat <<TOML
[node]
id = "gw-$1"
drain_spread = "1s"
[listen]
public = "127.0.0.1:808$1"
private = "127.0.0.1:909$1"
[tls]
mode = "off"
[origin]
missing = "allow"
[store]
url = "redis://127.0.0.1:$REDIS_PORT"
cluster_key_file = "cluster.key"
naming_key_file = "naming.key"
[[auth.issuer]]
name = "app"
issuer = "https://cluster.example"
audience = "portcullis"
algorithms = ["HS256"]
secret_file = "app.secret"
tenant_claim = "tenant"
[[room]]
pattern = "lobby"
join = ["member"]
publish = ["member"]
presence = true
history = { count = 100, age = "10m" }
[message.chat]
roles = ["member"]
route = "room"
[message.direct]
roles = ["member"]
route = "user"
users = "same_tenant"
TOML
}

redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --save '' --appendonly no --maxmemory-policy noeviction \
  --dir "$dir" >"$dir/redis.log" 2>&1 &
pids+=($!)
for n in 1 2; do
  config $n >"$dir/gw-$n.toml"
  "$GATEWAY" check-config "$dir/gw-$n.toml" >/dev/null
done
for ((try = 0; try < 100; try++)); do redis-cli -p "$REDIS_PORT" ping >/dev/null 2>&1 && break; sleep 0.1; done
for n in 1 2; do
  "$GATEWAY" run --config "$dir/gw-$n.toml" >"$dir/gw-$n.log" 2>&1 &
  pids+=($!)
done
for n in 1 2; do
  for ((try = 0; ; try++)); do
    curl -fs "http://127.0.0.1:909$n/health/ready" >/dev/null && break
    if [ $try -ge 100 ]; then
      echo "gw-$n did not become ready; the end of its log:" >&2
      tail -n 5 "$dir/gw-$n.log" >&2
      exit 1
    fi
    sleep 0.1
  done
done

cat <<TEXT

A fleet of two is open.

  Redis   127.0.0.1:$REDIS_PORT
  gw-1    ws://127.0.0.1:8081/ws    http://127.0.0.1:9091/health
  gw-2    ws://127.0.0.1:8082/ws    http://127.0.0.1:9092/health
  Logs    $dir

Two people, one on each node (any WebSocket client that can set a header):

  Authorization: Bearer $(scripts/token.py "$dir/app.secret" ada)

  Authorization: Bearer $(scripts/token.py "$dir/app.secret" bob)

More tokens: scripts/token.py out/cluster/app.secret NAME [ROLE …]
Stop with Ctrl-C.
TEXT
wait -n "${pids[@]}"

#!/usr/bin/env bash
# Redis, two gateways and a coordinator on this machine, until Ctrl-C. State and logs are in out/cluster; nothing outlives the script.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/need.sh
. scripts/need.sh
need "redis-server" redis-server redis-server --version

GATEWAY="${GATEWAY:-target/debug/portcullis-gateway}"
GATECTL="${GATECTL:-target/debug/gatectl}"
COORDINATOR="${COORDINATOR:-target/debug/portcullis-coordinator}"
REDIS_PORT="${REDIS_PORT:-6390}"
dir="$PWD/out/cluster"
pids=()

stop() {
  trap - EXIT
  # the store last, so that the others can leave it in order
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
operator="$("$GATECTL" keygen --out "$dir/operator.key" --name me --role admin | sed -n '/^\[\[operator/,$p')"
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
[coordinator]
id = "coordinator-1"
listen = "127.0.0.1:9093"
$operator
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
# it reads its part of any gateway's file
"$COORDINATOR" check-config "$dir/gw-1.toml" >/dev/null
"$COORDINATOR" run --config "$dir/gw-1.toml" >"$dir/coordinator-1.log" 2>&1 &
pids+=($!)

# ready NAME PORT
ready() {
  for ((try = 0; ; try++)); do
    curl -fs "http://127.0.0.1:$2/health/ready" >/dev/null && break
    if [ $try -ge 100 ]; then
      echo "$1 did not become ready; the end of its log:" >&2
      tail -n 5 "$dir/$1.log" >&2
      exit 1
    fi
    sleep 0.1
  done
}
ready gw-1 9091
ready gw-2 9092
ready coordinator-1 9093

cat <<TEXT

A fleet of two gateways and a coordinator is open.

  Redis   127.0.0.1:$REDIS_PORT
  gw-1    ws://127.0.0.1:8081/ws    http://127.0.0.1:9091/health
  gw-2    ws://127.0.0.1:8082/ws    http://127.0.0.1:9092/health
  coordinator-1                     http://127.0.0.1:9093/health
  Logs    $dir

Two people, one on each node (any WebSocket client that can set a header):

  Authorization: Bearer $(scripts/token.py "$dir/app.secret" ada)

  Authorization: Bearer $(scripts/token.py "$dir/app.secret" bob)

Kill a gateway (kill -9 ${pids[1]} is gw-1) and watch the coordinator find out and clear up:

  curl -s http://127.0.0.1:9093/health
  curl -s http://127.0.0.1:9093/metrics | grep portcullis_coordinator_reaped

You are an admin of it (out/cluster/operator.key):

  $GATECTL --config out/cluster/gw-1.toml nodes
  $GATECTL --config out/cluster/gw-1.toml sessions list
  $GATECTL --config out/cluster/gw-1.toml kick user ada
  $GATECTL --config out/cluster/gw-1.toml ban add user bob --for 10m --reason trying
  $GATECTL --config out/cluster/gw-1.toml ban list
  $GATECTL --config out/cluster/gw-1.toml broadcast notice '"hello, everybody"'
  $GATECTL --config out/cluster/gw-1.toml watch
  $GATECTL --config out/cluster/gw-1.toml drain gw-2 --wait 30s

More tokens: $GATECTL --config out/cluster/gw-1.toml token mint --user NAME, or scripts/token.py out/cluster/app.secret NAME [ROLE …]
Stop with Ctrl-C.
TEXT
# a gateway that somebody kills to see what happens does not end the fleet
wait "${pids[0]}"

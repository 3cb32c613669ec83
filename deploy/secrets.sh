#!/usr/bin/env bash
# Makes the secrets of a fleet in a directory: the keys of the nodes, an issuer's secret for trying out, Redis's users.
# What is there already stays. The directory is for its owner only; the files are readable, because containers mount them
# one by one for a user of their own.
#
#   deploy/secrets.sh deploy/compose/secrets
#   kubectl create secret generic portcullis-keys --from-file=cluster.key --from-file=naming.key
set -euo pipefail
dir="${1:?a directory}"
mkdir -p "$dir"
chmod 700 "$dir"
umask 022

random() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }
# make NAME TEXT
make() { [ -e "$dir/$1" ] || printf '%s\n' "$2" >"$dir/$1"; }

# authenticates what nodes tell each other; a new one goes on top, and an old one is removed when no node signs with it
make cluster.key "k1:$(random)"
# names users and rooms in Redis: for good
make naming.key "$(random)"
# signs the tokens of the issuer "app" of deploy/compose/portcullis.toml
make app.secret "$(random)"
make redis.password "$(random | tr '+/' '-_')"
# Redis: without a password one may say PING, which is what health checks do; the fleet's user reaches the fleet's keys and
# channels only, and no command that administers the server
make redis.acl "user default on nopass resetkeys resetchannels -@all +ping
user portcullis on >$(cat "$dir/redis.password") ~portcullis:* &portcullis:* +@all -@admin -@dangerous +info +role"

#!/usr/bin/env bash
# Which regions of each parser of hostile bytes the unit tests, the corpora and the tables reach: a line each, and failure
# below 90 %. Only our crates are built with instrumentation; dependencies are those of `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
least="${LEAST:-90}"
out="$PWD/out/coverage"

# llvm-cov of the compiler's own LLVM: the toolchain's, or Debian's of that version
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
bin="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin"
if [ -x "$bin/llvm-cov" ]; then
  cov="$bin/llvm-cov" profdata="$bin/llvm-profdata"
else
  need "llvm-cov $major" "llvm-$major" "llvm-cov-$major" --version
  cov="llvm-cov-$major" profdata="llvm-profdata-$major"
fi

rm -rf "$out" && mkdir -p "$out/raw"
cat >"$out/rustc" <<'WRAP'
#!/bin/sh
compiler="$1"; shift
exec "$compiler" "$@" -C instrument-coverage
WRAP
chmod +x "$out/rustc"
export RUSTC_WORKSPACE_WRAPPER="$out/rustc" LLVM_PROFILE_FILE="$out/raw/%p-%m.profraw"
# all packages, as `make test` builds them, so that dependencies are built once
what=(--workspace --lib --test corpora)
cargo test --locked "${what[@]}" --no-run --message-format=json 2>"$out/build.log" |
  python3 -c '
import json, sys
for line in sys.stdin:
    item = json.loads(line)
    if item.get("executable") and item.get("profile", {}).get("test"): print(item["executable"])' |
  grep -E '/(portcullis_common|portcullis_gateway|corpora)-[0-9a-f]+$' >"$out/programs"
# a test that fails under instrumentation is a matter of `make test`; here it only reaches less
while read -r program; do
  directory=gateway
  case "$program" in */portcullis_common-*) directory=common ;; */corpora-*) directory=fuzz/oracles ;; esac
  (cd "$directory" && "$program" --quiet >>"$out/tests.log" 2>&1) || echo "a test failed: see out/coverage/tests.log"
done <"$out/programs"
"$profdata" merge -sparse "$out"/raw/*.profraw -o "$out/all.profdata"
first=$(head -1 "$out/programs")
objects=()
while read -r program; do objects+=(-object "$program"); done < <(tail -n +2 "$out/programs")
"$cov" export "$first" "${objects[@]}" -instr-profile="$out/all.profdata" -format=text \
  -ignore-filename-regex='/(tests|.*_tests|props)(\.rs|/)|registry|rustc' >"$out/regions.json"
python3 scripts/coverage.py "$out/regions.json" "$least" ${SHOW:+-v}

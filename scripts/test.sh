#!/usr/bin/env bash
# One command that says whether this tree is good, on a fresh Debian with Rust, gcc, Node 20 and Python 3.11:
#
#   format → lints → build → tests → doc tests → deploy (image, compose, chart) → Autobahn (selection) → browser
#   → counts (instructions of the message path, in a release build) → licences (where cargo-deny is installed)
#
# Missing Debian packages (python3-venv, redis-server, haproxy, nginx-light, chromium, valgrind) are installed when this runs as
# root. Nothing is asked, nothing needs a terminal. Every stage goes on when another has failed, unless it needs what was not built. Logs: out/test/.
# Exit status: 0 only when nothing failed. STAGES="lints tests" runs a choice.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" CARGO_TERM_PROGRESS_WHEN=never NEXTEST_HIDE_PROGRESS_BAR=1
export NO_COLOR=1 CI="${CI:-1}" LOGS="$PWD/out/test"
# most integration tests wait more than they compute: half as many again as the two cores that this has to do with; where
# cargo-nextest is installed, .config/nextest.toml says which may run together
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-3}"
mkdir -p "$LOGS"
# so that a reader of the captured log sees the stages in order
exec 2>&1

lines=()
total_passed=0
total_failed=0
began=$SECONDS

# counts NAME: how many checks of a stage passed and failed, read from its log; nothing for stages that are one check.
counts() {
  case "$1" in
    tests) awk '
        # nextest: "Summary [ 5.1s] 355 tests run: 354 passed (1 slow), 1 failed, 0 skipped"
        /^ *Summary \[/ { for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^(failed|timed|exec)/) f += $(i-1) } }
        /^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } }
        END { if (p + f) print p + 0, f + 0 }' "$2" ;;
    doctests) awk '/^test result:/ { for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } n++ }
        END { if (n) print p + 0, f + 0 }' "$2" ;;
    autobahn) awk '/^[0-9]+ cases, [0-9]+ failed/ { print $1 - $3, $3 + 0 }' "$2" ;;
    deploy) awk '/^[0-9]+ checks, [0-9]+ failed/ { print $1 - $3, $3 + 0 }' "$2" ;;
    browser) awk '/^(#|ℹ) pass [0-9]+/ { p = $3 } /^(#|ℹ) fail [0-9]+/ { f = $3 } END { if (p + f) print p + 0, f + 0 }' "$2" ;;
  esac
}

note() {
  local name="$1" passed="$2" failed="$3" seconds="$4" remark="${5:-}"
  total_passed=$((total_passed + passed))
  total_failed=$((total_failed + failed))
  lines+=("$(printf '%-10s %5d passed, %d failed  %4d s  %s' "$name" "$passed" "$failed" "$seconds" "$remark")")
  echo "-- ${lines[-1]}"
}

wanted() {
  [ -z "${STAGES:-}" ] && return 0
  case " $STAGES " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# stage NAME SECONDS COMMAND…: runs, shows, counts. A stage that fails without a count of its own counts as one failure.
stage() {
  local name="$1" patience="$2" start=$SECONDS status passed failed
  shift 2
  wanted "$name" || return 0
  echo "== $name"
  timeout --kill-after=20 "$patience" "$@" </dev/null 2>&1 | tee "$LOGS/$name.log"
  status=${PIPESTATUS[0]}
  read -r passed failed < <(counts "$name" "$LOGS/$name.log")
  passed=${passed:-0}
  failed=${failed:-0}
  if [ "$status" -eq 0 ] && [ $((passed + failed)) -eq 0 ] && [ "$name" != doctests ]; then
    case "$name" in
      tests | deploy | autobahn | browser) failed=1; echo "$name: succeeded without running anything" ;;
      *) passed=1 ;;
    esac
  fi
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  local remark=""
  [ "$status" -eq 124 ] && remark="stopped after $patience s"
  note "$name" "$passed" "$failed" $((SECONDS - start)) "$remark"
  [ "$failed" -eq 0 ]
}

tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --workspace --no-fail-fast
  else
    cargo test --locked --workspace --lib --bins --tests --examples --no-fail-fast
  fi
}
export -f tests

if ! need_python; then note tools 0 1 0 "python3 with venv is needed"; fi
if ! need_redis; then note tools 0 1 0 "redis-server is needed"; fi
if ! need_balancers; then note tools 0 1 0 "haproxy and nginx are needed"; fi

stage format 120 cargo fmt --all -- --check --color never
stage lints 1200 cargo clippy --locked --workspace --all-targets -- -D warnings
# with `--tests` the features are those of the test run: nothing is built twice, by the tests themselves neither
if stage build 1200 cargo build --locked --workspace --bins --tests --examples; then
  BUILT_PROGRAMS="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug"
  export BUILT_PROGRAMS
  # the tests leave a processor idle half of their time: what `counts` needs is built meanwhile, behind them
  if wanted counts; then
    nice -n 19 cargo build --quiet --locked --release -p portcullis-count >"$LOGS/counts-build.log" 2>&1 </dev/null &
  fi
  stage tests 1800 bash -c tests
  stage doctests 600 cargo test --locked --workspace --doc --no-fail-fast
  stage deploy 600 scripts/deploy-check.sh
  stage autobahn 600 scripts/autobahn.sh --quick --report "$LOGS/autobahn.json"
  stage browser 600 env OUT="$PWD/out/browser" scripts/browser.sh
  wait
  stage counts 1200 env SHOW_ONLY=1 scripts/counts.sh
else
  for name in tests doctests deploy autobahn browser counts; do note "$name" 0 1 0 "not run: the build failed"; done
fi
if command -v cargo-deny >/dev/null; then
  stage licences 300 cargo deny --offline --locked check licenses bans sources
else
  echo "== licences: cargo-deny is not installed, deny.toml was not checked"
fi

echo
printf '%s\n' "${lines[@]}"
echo
echo "$total_passed passed, $total_failed failed ($((SECONDS - began)) s)"
[ "$total_failed" -eq 0 ]

#!/usr/bin/env bash
# The proofs that take long, at full length: what `make test` runs as a short selection with the same code. Every stage
# goes on when another has failed; logs: out/chaos/. Exit status: 0 only when nothing failed. STAGES="order cap" runs a
# choice, PORTCULLIS_SEED=n repeats a run whose seed was printed, PREVIOUS=COMMIT names the old version of `versions`.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" PORTCULLIS_CHAOS=1 LOGS="$PWD/out/chaos"
mkdir -p "$LOGS"
exec 2>&1

failed=()

# proof NAME SECONDS PACKAGE TEST FILTER: the tests of a test file whose names contain FILTER.
proof() {
  local name="$1" patience="$2" package="$3" test="$4" filter="$5" start=$SECONDS
  [ -z "${STAGES:-}" ] || case " $STAGES " in *" $name "*) ;; *) return 0 ;; esac
  echo "== $name"
  if timeout --kill-after=20 "$patience" cargo test --locked -p "$package" --test "$test" "$filter" -- --nocapture --test-threads=1 \
    </dev/null >"$LOGS/$name.log" 2>&1; then
    # a filter that names no test would prove nothing
    if grep -qE '^test result: ok\. [1-9]' "$LOGS/$name.log"; then
      sed -nE 's/^test [^ ]+ \.\.\. //; /SEED=|messages|rounds of|turned away|[0-9] bans:/p' "$LOGS/$name.log"
      echo "-- $name: passed in $((SECONDS - start)) s"
      return 0
    fi
  fi
  grep -E 'panicked|FAILED|SEED|nothing came' -A2 "$LOGS/$name.log" | head -40
  echo "-- $name: FAILED after $((SECONDS - start)) s, see $LOGS/$name.log"
  failed+=("$name")
}

# previous COMMIT: builds that commit's gateway and names it for the tests.
previous() {
  local at="$PWD/target/previous"
  rm -rf "$at/tree" && mkdir -p "$at/tree" && git archive "$1" | tar -x -C "$at/tree" || return 1
  (cd "$at/tree" && cargo build --quiet --locked -p portcullis-gateway --target-dir "$at/build") || return 1
  export PREVIOUS_GATEWAY_BIN="$at/build/debug/portcullis-gateway"
}

# figures NAME SECONDS SCENARIO: a scenario of the benchmarks at full length, which fails where a budget is not met. The
# machine should do nothing else.
figures() {
  local name="$1" patience="$2" scenario="$3" start=$SECONDS
  [ -z "${STAGES:-}" ] || case " $STAGES " in *" $name "*) ;; *) return 0 ;; esac
  echo "== $name"
  if cargo build --quiet --locked --release -p portcullis-gateway -p portcullis-bench >"$LOGS/$name.log" 2>&1 </dev/null &&
    timeout --kill-after=20 "$patience" target/release/portcullis-bench run --only "$scenario" --full --strict \
      --gateway target/release/portcullis-gateway --out "$LOGS/$name.jsonl" </dev/null >>"$LOGS/$name.log" 2>&1; then
    echo "-- $name: passed in $((SECONDS - start)) s"
  else
    echo "-- $name: FAILED after $((SECONDS - start)) s, see $LOGS/$name.log"
    failed+=("$name")
  fi
  sed -n '/^| what/,$p' "$LOGS/$name.log"
}

need_redis || exit 1
figures storm 600 storm
figures hostile 600 hostile
figures overload 600 overload
proof limits 2400 portcullis-common limit_simulation no_schedule
proof order 1200 portcullis-tests fleet_proofs order::
proof cap 1200 portcullis-tests fleet_proofs cap::
if [ -z "${STAGES:-}" ] || [[ " $STAGES " == *" versions "* ]]; then
  # PREVIOUS=COMMIT: another one than the last
  if previous "${PREVIOUS:-HEAD~1}" >"$LOGS/previous.log" 2>&1; then
    proof versions 600 portcullis-tests versions two_versions
  else
    echo "-- versions: FAILED, ${PREVIOUS:-HEAD~1} does not build, see $LOGS/previous.log"
    failed+=("versions")
  fi
fi
proof commands 1800 portcullis-tests commands measure::
proof reload 600 portcullis-tests reload crowd
proof stuffing 300 portcullis-tests stuffing stuffing_is_turned_away
proof simulation 3600 portcullis-common fleet_simulation no_schedule
proof control 1800 portcullis-common control_simulation no_schedule
proof ledger 1800 portcullis-common ledger_simulation no_schedule

[ ${#failed[@]} -eq 0 ] && echo "chaos: everything passed" && exit 0
echo "chaos: failed: ${failed[*]}"
exit 1

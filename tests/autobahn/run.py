#!/usr/bin/env python3
"""Judges a WebSocket server by the Autobahn test suite, sections 1-7 and 10.

    tests/autobahn/run.py --port 8080                 everything against /diagnostics/echo
    tests/autobahn/run.py --port 8080 --quick         a selection, below 20 s
    tests/autobahn/run.py --port 8080 --cases '6.4.*' '7.*'

The first run builds a virtual environment under target/. The suite is written in Python 2 and carried over while it is
imported (cases.py). Exit status: 0 all passed, 1 some did not, 2 the suite could not run.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target"
VENV = TARGET / "autobahn-venv"

# the suite without its dependencies: it asks for the Python 2 versions of the two libraries
LIBRARIES = ["autobahn==25.10.1", "twisted==26.10.0", "setuptools==80.9.0"]
SUITE = "autobahntestsuite==25.10.1"

QUICK = [
    "1.*", "2.*", "3.*", "4.*", "5.1", "5.2", "5.3", "5.6", "5.9", "5.15", "5.18", "5.19", "5.20",
    "6.1.*", "6.2.*", "6.3.*", "6.4.*", "6.6.*", "6.12.*", "6.20.*", "7.*", "10.*",
]  # fmt: skip

PASSED = {"OK", "INFORMATIONAL"}
TOLERATED = PASSED | {"NON-STRICT"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--url", help="default: ws://127.0.0.1:PORT/diagnostics/echo")
    parser.add_argument("--origin", help="the Origin header, default none")
    parser.add_argument("--protocol", action="append", default=[], help="a subprotocol to offer; may be repeated")
    parser.add_argument("--cases", nargs="+", default=["*"], help="globs over case ids, default all")
    parser.add_argument("--quick", action="store_true", help="a selection that takes less than 20 s")
    parser.add_argument("--strict", action="store_true", help="NON-STRICT is a failure too")
    parser.add_argument("--parallel", type=int, default=8, help="connections at a time, default 8")
    parser.add_argument("--report", type=pathlib.Path, default=TARGET / "autobahn-report.json")
    parser.add_argument("--list", action="store_true", help="print the chosen cases and stop")
    return parser.parse_args()


def enter_environment():
    """Continues inside the virtual environment, which is built when it is missing or its pins have changed."""
    pins = "\n".join([*LIBRARIES, SUITE])
    stamp, python = VENV / "pins.txt", VENV / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != pins:
        print("building the virtual environment of the suite ...", flush=True)
        venv.create(VENV, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([*pip, *LIBRARIES], check=True)
            subprocess.run([*pip, "--no-deps", "--no-compile", "--no-build-isolation", SUITE], check=True)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"cannot install the suite: {error}") from None
        stamp.write_text(pins)
    if pathlib.Path(sys.prefix).resolve() != VENV.resolve():
        sys.dont_write_bytecode = True
        os.execv(python, [str(python), "-B", str(HERE / "run.py"), *sys.argv[1:]])


def table(results):
    """One line for each case that is not plainly OK, and one for each section."""
    lines = [f"{'case':<9} {'behaviour':<14} {'close':<17} {'code':<5} result"]
    sections = {}
    for case_id, r in results.items():
        good = r["behavior"] in PASSED and r["behaviorClose"] in PASSED
        tally = sections.setdefault(case_id.split(".")[0], [0, 0])
        tally[0 if good else 1] += 1
        if not good or "INFORMATIONAL" in (r["behavior"], r["behaviorClose"]):
            why = r["result"] if r["behavior"] not in PASSED else r["resultClose"]
            code = r["remoteCloseCode"] or "-"
            lines.append(f"{case_id:<9} {r['behavior']:<14} {r['behaviorClose']:<17} {code!s:<5} {why}")
    lines.append("")
    lines += [f"section {name:<3} {ok:>4} passed {bad:>4} not" for name, (ok, bad) in sections.items()]
    return "\n".join(lines)


def main():
    options = arguments()
    enter_environment()
    import cases
    import driver

    everything = cases.load()
    chosen = cases.choose(everything, QUICK if options.quick else options.cases)
    if options.list:
        print("\n".join(f"{case_id:<9} {' '.join(everything[case_id].DESCRIPTION.split())[:100]}" for case_id in chosen))
        return 0
    url = options.url or f"ws://127.0.0.1:{options.port}/diagnostics/echo"
    picked = {case_id: everything[case_id] for case_id in chosen}
    results = driver.Run(url, picked, options.parallel, options.origin, options.protocol).go()
    results = {case_id: results.get(case_id) or driver.broken("not run") for case_id in chosen}
    accepted = PASSED if options.strict else TOLERATED
    failed = [i for i, r in results.items() if not {r["behavior"], r["behaviorClose"]} <= accepted]
    options.report.parent.mkdir(parents=True, exist_ok=True)
    report = {"suite": SUITE, "url": url, "cases": len(results), "failed": failed, "results": results}
    options.report.write_text(json.dumps(report, indent=1))
    print(table(results))
    slowest = max(r["milliseconds"] for r in results.values())
    print(f"{len(results)} cases, {len(failed)} failed; slowest {slowest} ms; report: {options.report}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks of the image, of docker-compose.yml and of the Helm chart, by tools of others and by running what they describe.

No container engine is needed: what would run in containers is started here, with the configuration that they would get.
Needs the three programs built (target/debug, or BIN), redis-server, haproxy, openssl. The virtual environment with the
tools is made once, in target/deploy-venv.

    tests/deploy/run.py [WORD …]      only the checks whose name holds one of the words
"""

import os
import pathlib
import subprocess
import sys
import time
import traceback
import venv

HERE = pathlib.Path(__file__).resolve().parent
VENV = HERE.parent.parent / "target" / "deploy-venv"


def enter_environment():
    """Makes the environment where it is not there as it should be, and goes on inside it."""
    pins = (HERE / "requirements.txt").read_text()
    stamp, python = VENV / "pins.txt", VENV / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != pins:
        print("building the virtual environment of the tools ...", flush=True)
        venv.create(VENV, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([*pip, "--requirement", HERE / "requirements.txt"], check=True)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"cannot install the tools: {error}") from None
        stamp.write_text(pins)
    if pathlib.Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(python, [str(python), "-B", str(HERE / "run.py"), *sys.argv[1:]])


def main():
    enter_environment()
    sys.path.insert(0, str(HERE))
    import chart
    import compose
    import image
    from kit import Checks

    checks = Checks()
    for module in (image, compose, chart):
        module.register(checks)
    failed, ran = 0, 0
    for name, check in checks.all:
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        ran += 1
        began = time.monotonic()
        try:
            check()
            print(f"ok    {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # noqa: BLE001 - a check may fail in any way
            failed += 1
            print(f"FAIL  {name}: {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
    print(f"{ran} checks, {failed} failed")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())

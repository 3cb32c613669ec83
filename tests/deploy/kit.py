"""What the checks share: the tree, the programs, processes that end with their check."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "target" / "debug"))
TOOLS = pathlib.Path(sys.prefix) / "bin"
PATIENCE = 30


class Checks:
    """Named functions, in order."""

    def __init__(self):
        self.all = []

    def __call__(self, name):
        def keep(function):
            self.all.append((name, function))
            return function

        return keep


def run(*command, **options):
    """The output of a command that has to succeed."""
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, timeout=120, **options)
    output = (done.stdout + done.stderr).strip()
    assert done.returncode == 0, f"{command[0]} failed with {done.returncode}:\n{output}"
    return output


def clean_environment(**more):
    """Ours, without variables that the programs read."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PORTCULLIS__")} | more


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@contextlib.contextmanager
def process(log, *command, **options):
    """A process that is ended, by its id, when the block is left."""
    with open(log, "wb") as out:
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, **options)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def until(what, ready, *, alive=None, log=None):
    """Waits until `ready` answers something true; fails when the process has ended instead."""
    end = time.monotonic() + PATIENCE
    while True:
        found = ready()
        if found:
            return found
        gone = alive is not None and alive.poll() is not None
        if gone or time.monotonic() > end:
            tail = pathlib.Path(log).read_text(errors="replace")[-2000:] if log else ""
            raise AssertionError(f"{what}: {'the process ended' if gone else 'waited in vain'}\n{tail}")
        time.sleep(0.05)


def get(port, path):
    """Status and body of a GET on loopback; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def seconds(text):
    """A duration of the configuration, or of compose."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


def drain_seconds(toml):
    """The longest that a drain takes by this configuration."""
    node, session = toml.get("node", {}), toml.get("session", {})
    return (
        seconds(node.get("drain_notice", "0s"))
        + seconds(node.get("drain_deadline", "30s"))
        + seconds(session.get("close_timeout", "5s"))
    )


def workdir():
    return tempfile.TemporaryDirectory(prefix="portcullis-deploy-")


def certificate(directory):
    """A self-signed certificate and its key."""
    directory.mkdir(parents=True, exist_ok=True)
    cert, key = directory / "tls.crt", directory / "tls.key"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    run("openssl", "req", "-x509", *options, "-keyout", key, "-out", cert)
    return cert, key


def can_ping(port):
    """Redis's answer to PING, without a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as redis:
            redis.sendall(b"PING\r\n")
            return redis.recv(64) == b"+PONG\r\n"
    except OSError:
        return False


def refuses_strangers(port):
    """Whether somebody without a password may do nothing but PING."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as redis:
        for command in (b"GET portcullis:x\r\n", b"FLUSHALL\r\n", b"CONFIG GET *\r\n", b"PUBLISH portcullis:x y\r\n"):
            redis.sendall(command)
            answer = redis.recv(256)
            assert answer.startswith(b"-NOPERM"), f"{command!r} is answered {answer!r}"
    return True

"""A rendered release, run without a cluster: its Redis, its gateway, its probes, its test."""

import base64
import contextlib
import pathlib

from kit import BIN, can_ping, clean_environment, free_ports, get, process, refuses_strangers, run, until, workdir


def data(objects, kind, key):
    """The value of a key that one ConfigMap or Secret of the release has."""
    found = [one["data"][key] for one in objects if one["kind"] == kind and key in one.get("data", {})]
    assert len(found) == 1, f"{len(found)} {kind}s hold {key}"
    return base64.b64decode(found[0]).decode() if kind == "Secret" else found[0]


def container(objects, component):
    """The container of a component, and what its volume puts beside the configuration."""
    for one in objects:
        template = one["spec"].get("template", one) if one["kind"] in ("Deployment", "StatefulSet", "Pod") else None
        if template and template["metadata"]["labels"]["app.kubernetes.io/component"] == component:
            return template["spec"]["containers"]
    raise AssertionError(f"no {component}")


def release_runs(objects):
    with workdir() as at, contextlib.ExitStack() as stack:
        at = pathlib.Path(at)
        redis, public, private, coordinator = free_ports(4)
        start_redis(objects, at, redis, stack)
        for directory in ("keys", "issuers"):
            (at / directory).mkdir()
        for name in ("cluster.key", "naming.key"):
            (at / "keys" / name).write_text(data(objects, "Secret", name))
        (at / "keys" / "redis.password").write_text(data(objects, "Secret", "password"))
        (at / "issuers" / "app.secret").write_text("0123456789abcdef0123456789abcdef")
        toml = data(objects, "ConfigMap", "portcullis.toml")
        name = next(o["metadata"]["name"] for o in objects if o["kind"] == "StatefulSet")
        here = {f"redis://{name}:6379": f"redis://127.0.0.1:{redis}", "0.0.0.0:8080": f"127.0.0.1:{public}",
                "0.0.0.0:9090": f"127.0.0.1:{private}", "0.0.0.0:9091": f"127.0.0.1:{coordinator}",
                'drain_notice = "10s"': 'drain_notice = "0s"'}  # fmt: skip
        for there, mine in here.items():
            assert there in toml, f"{there} is not in the configuration"
            toml = toml.replace(there, mine)
        (at / "portcullis.toml").write_text(toml)
        ports = {"gateway": private, "coordinator": coordinator}
        for component, port in ports.items():
            start(objects, at, component, port, stack)
        for test in container(objects, "test"):
            assert test["args"][:2] == ["health", "--address"]
            run(BIN / test["command"][0].rsplit("/", 1)[1], *test["args"][:2], f"127.0.0.1:{ports[test['name']]}")


def start_redis(objects, at, port, stack):
    (at / "users.acl").write_text(data(objects, "Secret", "users.acl"))
    conf = data(objects, "ConfigMap", "redis.conf")
    for there, mine in {"/etc/redis/users.acl": f"{at}/users.acl", "dir /data": f"dir {at}", "bind * -::*": "bind 127.0.0.1"}.items():
        assert there in conf, there
        conf = conf.replace(there, mine)
    (at / "redis.conf").write_text(conf)
    command = container(objects, "redis")[0]["command"]
    child = stack.enter_context(process(at / "redis.log", *command, at / "redis.conf", "--port", port))
    until("Redis", lambda: can_ping(port), alive=child, log=at / "redis.log")
    refuses_strangers(port)
    probe = container(objects, "redis")[0]["readinessProbe"]["exec"]["command"]
    run(probe[0], "-p", port, *probe[1:])


def start(objects, at, component, port, stack):
    """Starts a program as its container would be started, and asks what its probes ask."""
    one = container(objects, component)[0]
    program = BIN / one["command"][0].rsplit("/", 1)[1]
    arguments = [a.replace("/etc/portcullis", str(at)) for a in one["args"]]
    log = at / f"{component}.log"
    child = stack.enter_context(process(log, program, *arguments, env=clean_environment()))
    until(f"the {component}", lambda: get(port, "/health/ready")[0] == 200, alive=child, log=log)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = one[probe]["httpGet"]["path"]
        assert get(port, path)[0] == 200, f"{component}: {probe} asks {path}"
    assert get(port, "/metrics")[0] == 200, f"{component}: the monitor asks /metrics"

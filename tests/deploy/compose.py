"""docker-compose.yml and what is beside it; the fleet that it describes, run without containers."""

import contextlib
import pathlib
import re
import shutil
import socket
import stat
import tomllib

import yaml
from kit import BIN, ROOT, TOOLS, can_ping, clean_environment, drain_seconds, free_ports, get, process
from kit import refuses_strangers, run, seconds, until, workdir

FILE = ROOT / "docker-compose.yml"
FOLDER = ROOT / "deploy" / "compose"


def services():
    return yaml.safe_load(FILE.read_text())["services"]


def secrets(directory):
    run(ROOT / "deploy" / "secrets.sh", directory)
    return pathlib.Path(directory)


def configuration(directory):
    """The fleet's file with its secrets where they are here."""
    text = (FOLDER / "portcullis.toml").read_text()
    return text.replace("/run/secrets/", f"{directory}/")


def register(check):
    @check("compose: the file follows the specification")
    def _():
        run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)

    @check("compose: docker-compose reads it")
    def _():
        command = shutil.which("docker-compose")
        if command is None:
            print("      (docker-compose is not installed: Debian's package is enough)")
            return
        read = yaml.safe_load(run(command, "-f", FILE, "config"))
        assert set(read["services"]) == set(services())

    @check("compose: the keys of the fleet are good, and made for their owner only")
    def _():
        with workdir() as at:
            made = secrets(pathlib.Path(at) / "secrets")
            assert stat.S_IMODE(made.stat().st_mode) == 0o700
            first = {f.name: f.read_text() for f in made.iterdir()}
            named = {pathlib.Path(s["file"]).name for s in yaml.safe_load(FILE.read_text())["secrets"].values()}
            assert set(first) == named, f"{set(first)} are made, {named} are used"
            secrets(made)
            assert first == {f.name: f.read_text() for f in made.iterdir()}, "made anew"
            file = made / "portcullis.toml"
            file.write_text(configuration(made))
            run(BIN / "portcullis-gateway", "check-config", file, env=clean_environment())

    @check("compose: services, configuration and load balancer say the same")
    def _():
        toml = tomllib.loads((FOLDER / "portcullis.toml").read_text())
        document = yaml.safe_load(FILE.read_text())
        private = toml["listen"]["private"].rsplit(":")[-1]
        public = toml["listen"]["public"].rsplit(":")[-1]
        used = set(re.findall(r"/run/secrets/([\w.]+)", (FOLDER / "portcullis.toml").read_text()))
        proxy = (FOLDER / "haproxy.cfg").read_text()
        servers = dict(re.findall(r"^\s+server (\S+) (\S+)", proxy, re.M))
        gateways = {name: s for name, s in document["services"].items() if name.startswith("gateway-")}
        assert servers == {name: f"{name}:{public}" for name in gateways}
        assert f"check port {private} " in proxy and "send-proxy-v2" in proxy and toml["listen"]["proxy_protocol"]
        balancer = document["services"]["loadbalancer"]["networks"]["edge"]["ipv4_address"]
        assert toml["listen"]["trusted_proxies"] == [f"{balancer}/32"]
        for name, service in gateways.items():
            assert service["environment"]["PORTCULLIS__NODE__ID"] == name, "ids are unique"
            assert used <= set(service["secrets"]), used
            assert service["healthcheck"]["test"][-1] == f"127.0.0.1:{private}"
            assert seconds(service["stop_grace_period"]) >= drain_seconds(toml) + 3, "killed while it drains"
            assert service["volumes"][0].split(":")[1] == service["command"][-1]
        coordinator = document["services"]["coordinator"]
        port = toml["coordinator"]["listen"].rsplit(":")[-1]
        assert coordinator["healthcheck"]["test"][-1] == f"127.0.0.1:{port}"
        assert coordinator["volumes"][0].split(":")[1] == coordinator["command"][-1]
        inter, fall = re.search(r"inter (\d+)s fall (\d+)", proxy).groups()
        assert seconds(toml["node"]["drain_notice"]) > int(inter) * int(fall), "the balancer notices in time"
        idle = seconds(re.search(r"timeout tunnel\s+(\S+)", proxy).group(1))
        assert idle > 25 + 20, "a ping and its pong keep a connection open"

    @check("compose: every service is hardened, and only the load balancer is published, on loopback")
    def _():
        for name, service in services().items():
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"] and service["healthcheck"], name
            assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
            for port in service.get("ports", []):
                assert name == "loadbalancer" and port.startswith("127.0.0.1:"), f"{name} publishes {port}"
        assert yaml.safe_load(FILE.read_text())["networks"]["inside"]["internal"]

    @check("compose: the fleet runs: Redis with its users, gateways, coordinator, load balancer")
    def _():
        with workdir() as at, contextlib.ExitStack() as stack:
            fleet(pathlib.Path(at), stack)


def fleet(at, stack):
    made = secrets(at / "secrets")
    redis, lb, *gateways = free_ports(6)
    pairs = [gateways[0:2], gateways[2:4]]
    # what containers get by names and mounts is put in place by hand; nothing else is changed
    conf = (FOLDER / "redis.conf").read_text().replace("/run/secrets/redis.acl", f"{made}/redis.acl")
    (at / "redis.conf").write_text(conf.replace("dir /data", f"dir {at}").replace("bind * -::*", "bind 127.0.0.1"))
    child = stack.enter_context(process(at / "redis.log", "redis-server", at / "redis.conf", "--port", redis))
    until("Redis", lambda: can_ping(redis), alive=child, log=at / "redis.log")
    refuses_strangers(redis)
    toml = configuration(made).replace("redis://redis:6379", f"redis://127.0.0.1:{redis}")
    toml = toml.replace("172.30.0.10/32", "127.0.0.1/32")
    for n, (public, private) in enumerate(pairs, 1):
        file = at / f"gateway-{n}.toml"
        mine = toml.replace("0.0.0.0:8080", f"127.0.0.1:{public}").replace("0.0.0.0:9090", f"127.0.0.1:{private}")
        file.write_text(mine.replace('drain_notice = "5s"', 'drain_notice = "0s"'))
        env = clean_environment(PORTCULLIS__NODE__ID=f"gateway-{n}")
        command = [BIN / "portcullis-gateway", "run", "--config", file]
        child = stack.enter_context(process(at / f"gateway-{n}.log", *command, env=env))
        probe = [BIN / "portcullis-gateway", "health", "--address", f"127.0.0.1:{private}"]
        until(f"gateway {n}", lambda p=private: get(p, "/health/ready")[0] == 200, alive=child, log=at / f"gateway-{n}.log")
        run(*probe)
    (port,) = free_ports(1)
    (at / "coordinator.toml").write_text(toml.replace("0.0.0.0:9091", f"127.0.0.1:{port}"))
    command = [BIN / "portcullis-coordinator", "run", "--config", at / "coordinator.toml"]
    child = stack.enter_context(process(at / "coordinator.log", *command, env=clean_environment()))
    ready = lambda: get(port, "/health/ready")[0] == 200  # noqa: E731
    until("the coordinator", ready, alive=child, log=at / "coordinator.log")
    balancer = (FOLDER / "haproxy.cfg").read_text().replace("bind :8080", f"bind 127.0.0.1:{lb}")
    for n, (public, private) in enumerate(pairs, 1):
        here = f"server gateway-{n} 127.0.0.1:{public} port {private}"
        balancer = balancer.replace(f"server gateway-{n} gateway-{n}:8080", here)
    (at / "haproxy.cfg").write_text(balancer.replace("check port 9090 ", "check "))
    child = stack.enter_context(process(at / "haproxy.log", "haproxy", "-db", "-f", at / "haproxy.cfg"))
    until("the load balancer", lambda: knock(lb) == 401, alive=child, log=at / "haproxy.log")
    assert get(pairs[0][0], "/")[0] == 0, "a gateway answers somebody without a PROXY header"


def knock(port):
    """What a WebSocket handshake without a token is answered."""
    lines = ["GET /ws HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]  # fmt: skip
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as tcp:
            tcp.sendall("\r\n".join(lines).encode())
            answer = tcp.recv(64)
    except OSError:
        return 0
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0

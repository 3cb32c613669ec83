"""Dockerfile and .dockerignore."""

import fnmatch
import json
import re

from kit import BIN, ROOT, TOOLS, run

DOCKERFILE = ROOT / "Dockerfile"


def stages(text):
    """The instructions of each stage, continuation lines joined, as (word, rest)."""
    joined = re.sub(r"\\\n\s*", " ", text)
    all_stages = []
    for line in joined.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            all_stages.append([])
        all_stages[-1].append((word, rest))
    return all_stages


def ignored(path, rules):
    """Whether .dockerignore keeps a file from the builder; the last rule that matches it or a folder above it wins."""
    out = False
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    for rule in rules:
        keep, pattern = rule.startswith("!"), rule.lstrip("!")
        patterns = [pattern, pattern.removeprefix("**/")] if pattern.startswith("**/") else [pattern]
        if any(fnmatch.fnmatchcase(a, p) for a in above for p in patterns):
            out = not keep
    return out


def register(check):
    text = DOCKERFILE.read_text()

    @check("image: hadolint has nothing to say")
    def _():
        assert run(TOOLS / "hadolint", "--failure-threshold", "style", DOCKERFILE) == ""

    @check("image: checkov has nothing to say")
    def _():
        output = run(TOOLS / "checkov", "--skip-download", "-f", DOCKERFILE, "--framework", "dockerfile", "-o", "json")
        found = json.loads(output)
        assert found["summary"]["passed"] > 10 and found["summary"]["failed"] == 0, output

    @check("image: the programs that it builds are the workspace's, and all of them are in it")
    def _():
        metadata = json.loads(run("cargo", "metadata", "--no-deps", "--offline", "--format-version", "1", cwd=ROOT))
        there = {p["name"]: {t["name"] for t in p["targets"] if "bin" in t["kind"]} for p in metadata["packages"]}
        build = next(rest for word, rest in stages(text)[0] if word == "RUN")
        packages = re.findall(r"--package ([\w-]+)", build)
        assert "--bins" in build and packages == ["portcullis-gateway", "portcullis-coordinator"]
        built = set().union(*(there[package] for package in packages))
        assert {"portcullis-gateway", "portcullis-coordinator"} <= built, built
        left = set().union(*there.values()) - built
        assert left == {"portcullis-bench", "portcullis-count"}, f"programs that are in no image: {left}"

    @check("image: whatever a program is built from reaches the builder, and nothing secret does")
    def _():
        rules = [r for r in (ROOT / ".dockerignore").read_text().splitlines() if r and not r.startswith("#")]
        tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
        needed = [f for f in tracked if f.endswith((".rs", ".lua", "Cargo.toml", "Cargo.lock")) and not f.startswith("fuzz/")]
        included = set()
        for file in needed:
            if not file.endswith(".rs") or "/tests/" in file:
                continue
            for relative in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', (ROOT / file).read_text()):
                target = (ROOT / file).parent.joinpath(relative).resolve()
                included.add(str(target.relative_to(ROOT)))
        missing = [f for f in [*needed, *sorted(included)] if ignored(f, rules)]
        assert not missing and len(needed) > 100 and len(included) > 5, f"not sent to the builder: {missing}"
        for secret in ["deploy/compose/secrets/cluster.key", "out/cluster/naming.key", ".git/config", "gateway/x.pem",
                       "target/debug/portcullis-gateway", "rust-toolchain.toml", "common/target/x"]:  # fmt: skip
            assert ignored(secret, rules), f"{secret} is sent to the builder"

    @check("image: it runs without root or shell, and its health check is a verb of the program")
    def _():
        last = stages(text)[-1]
        words = [word for word, _ in last]
        assert last[0][1].endswith(":nonroot") and "distroless" in last[0][1] and "RUN" not in words
        of = {word: rest for word, rest in last}
        assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", of["USER"])
        health = json.loads(of["HEALTHCHECK"].partition("CMD ")[2])
        program, verb = health[0].rsplit("/", 1)[1], health[1]
        run(BIN / program, verb, "--help")
        command = json.loads(of["ENTRYPOINT"]) + json.loads(of["CMD"])
        run(BIN / command[0].rsplit("/", 1)[1], command[1], "--help")
        assert health[-1] == command[-1], "both read the same file"

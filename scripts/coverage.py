"""Regions reached in each parser: python3 coverage.py REGIONS.JSON LEAST (what scripts/coverage.sh exports)."""

import json
import re
import sys
from collections import defaultdict

# what hostile bytes reach first, and the files that it is made of
PARSERS = {
    "frames": ["gateway/src/frame/" + name for name in
               ("header.rs", "mask.rs", "utf8.rs", "close.rs", "assemble.rs", "decode.rs", "encode.rs")],
    "PROXY protocol": ["gateway/src/accept/proxy.rs"],
    "request head": ["gateway/src/admit/" + name for name in ("facts.rs", "handshake.rs", "authority.rs")],
    "addresses of proxies": ["gateway/src/admit/network.rs"],
    "Origin": ["gateway/src/admit/origin.rs"],
    "credentials": ["gateway/src/admit/" + name for name in ("credential.rs", "subprotocol.rs", "query.rs")],
    "tokens": ["gateway/src/admit/auth/" + name for name in ("header.rs", "json.rs", "claims.rs")],
    "JSON": ["common/src/wire/" + name for name in ("json.rs", "scan.rs", "tape.rs")],
    "envelope": ["common/src/wire/" + name for name in ("envelope.rs", "field.rs")],
    "MessagePack": ["common/src/wire/msgpack.rs"],
    "decode stage": ["gateway/src/pipeline/decode.rs", "gateway/src/pipeline/payload.rs"],
    "limits": ["common/src/config/unit.rs", "common/src/gcra.rs", "gateway/src/pipeline/flow.rs",
               "gateway/src/pipeline/rate.rs"],
    "schema dispatch": ["gateway/src/pipeline/schema/" + name for name in ("mod.rs", "instance.rs", "strict.rs")],
    "signatures": ["gateway/src/pipeline/signature/"],
    "percent-encoding": ["gateway/src/pipeline/percent.rs"],
    "sanitise": ["gateway/src/pipeline/sanitise/" + name for name in ("mod.rs", "html.rs", "text.rs", "markup.rs")],
    "path fields": ["gateway/src/pipeline/sanitise/path.rs"],
    "records": ["common/src/store/" + name for name in ("record.rs", "letter.rs", "octets.rs", "keyring.rs")],
    "control log": ["common/src/store/redis/log.rs", "common/src/store/merge.rs"],
    "commands and answers": ["common/src/control/" + name for name in ("sign.rs", "command.rs", "ack.rs")],
    "feeds": ["common/src/feed/" + name for name in ("list.rs", "gate.rs", "file.rs", "reserved.rs")],
    "configuration": ["common/src/config/" + name for name in ("address.rs", "value.rs", "layer.rs")],
}

CODE = 0  # the kind of a region that is code


def own_lines(path):
    """The first line of the tests at the end of a file: what stands behind it is no part of the parser."""
    with open(path, encoding="utf-8") as source:
        text = source.read()
    tests = re.search(r"^#\[cfg\(test\)\]\n(#\[.*\n)*mod \w+ \{", text, re.MULTILINE)
    return text.count("\n", 0, tests.start()) if tests else sys.maxsize


def regions(exported):
    """Every region by its place, and whether any instance of its function reached it."""
    found = defaultdict(dict)
    for function in exported["data"][0]["functions"]:
        for region in function["regions"]:
            if region[7] == CODE:
                file, place = function["filenames"][region[5]], tuple(region[:4])
                found[file][place] = found[file].get(place, False) or region[4] > 0
    return found


def main():
    exported, least = sys.argv[1], float(sys.argv[2])
    with open(exported, encoding="utf-8") as file:
        found = regions(json.load(file))
    show = "-v" in sys.argv
    below = []
    print(f"{'parser':<24} {'regions':>8} {'reached':>8} {'%':>6}")
    for parser, files in PARSERS.items():
        mine = {}
        for file, places in found.items():
            if any(("/" + part) in file for part in files) and "/tests" not in file:
                end = own_lines(file)
                mine.update({(file, *place): hit for place, hit in places.items() if place[0] <= end})
        reached = sum(mine.values())
        share = 100 * reached / len(mine) if mine else 0
        print(f"{parser:<24} {len(mine):>8} {reached:>8} {share:>6.1f}")
        if share < least:
            below.append(parser)
        if show:
            for (file, line, column, *_), hit in sorted(mine.items()):
                if not hit:
                    print(f"    {file.split('/src/')[-2].rsplit('/')[-1]}/src/{file.split('/src/')[-1]}:{line}:{column}")
    if below:
        sys.exit(f"below {least:.0f} %: {', '.join(below)}")


main()

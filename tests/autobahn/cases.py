"""The suite's own case modules, carried from Python 2 to Python 3 while they are imported; nothing of them is stored.

Their strings are strings of bytes. Here they stay `str` with one character a byte (Latin-1), so that literals,
indexing and comparison mean what they meant; the driver converts where bytes meet the wire.
"""

import binascii
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import re
import sys
import types

from autobahn.websocket import utf8validator

# each line: what Python 3 reads differently in these modules, and what takes its place
REWRITES = [
    (r"(?m)^(\s*)print\b.*$", r"\1pass"),
    (r"\bxrange\b", "range"),
    (r"\(object,\s*Case,\s*\)", "(Case,)"),
    (r"(?m)^import binascii$", "import latin1_binascii as binascii"),
    (r"from autobahn\.websocket\.utf8validator import", "from latin1_validator import"),
    (r"len\(self\.payload\) / self\.p\.autoFragmentSize", "len(self.payload) // self.p.autoFragmentSize"),
]

SECTIONS = ("1", "2", "3", "4", "5", "6", "7", "10")


def wire(value):
    """The bytes of one of the suite's strings; bytes and `None` stay what they are."""
    return value.encode("latin-1") if isinstance(value, str) else value


def text(value):
    """One of the suite's strings out of bytes."""
    return value.decode("latin-1") if isinstance(value, (bytes, bytearray)) else value


class Loader(importlib.machinery.SourceFileLoader):
    """Compiles a case module after the rewrites; keeps no compiled file."""

    def get_code(self, fullname):
        # Latin-1, whatever the file says: a literal is the bytes that stand in it
        source = pathlib.Path(self.path).read_text(encoding="latin-1")
        for pattern, replacement in REWRITES:
            source = re.sub(pattern, replacement, source)
        return compile(source, self.path, "exec", dont_inherit=True)


class Finder(importlib.abc.MetaPathFinder):
    """Finds `case` and `case1_2_3`, which import each other without a package, in the installed suite."""

    def __init__(self, directory):
        self.directory = directory

    def find_spec(self, fullname, path=None, target=None):
        file = self.directory / f"{fullname}.py"
        if not re.fullmatch(r"case(\d+_\w+)?", fullname) or not file.is_file():
            return None
        return importlib.util.spec_from_file_location(fullname, file, loader=Loader(fullname, str(file)))


class Validator:
    """The library's validator for the suite's strings."""

    def __init__(self):
        self.inner = utf8validator.Utf8Validator()

    def reset(self):
        self.inner.reset()

    def validate(self, value):
        return self.inner.validate(wire(value))


def install_shims():
    shim = types.ModuleType("latin1_binascii")
    shim.b2a_hex = lambda value: text(binascii.b2a_hex(wire(value)))
    sys.modules[shim.__name__] = shim
    shim = types.ModuleType("latin1_validator")
    shim.Utf8Validator = Validator
    sys.modules[shim.__name__] = shim


def order(case_id):
    return tuple(int(part) for part in case_id.split("."))


def load():
    """All cases of the sections that judge the protocol, by id, in order."""
    # found, not imported: the package itself is Python 2
    package = importlib.util.find_spec("autobahntestsuite")
    directory = pathlib.Path(package.submodule_search_locations[0]) / "case"
    install_shims()
    sys.meta_path.insert(0, Finder(directory))
    case = importlib.import_module("case").Case
    # pickles of equal values differ in Python 3
    case.compare = lambda self, one, other: one == other
    found = {}
    for file in directory.glob("case*_*.py"):
        if file.stem[len("case"):].split("_")[0] not in SECTIONS:
            continue
        for name, value in vars(importlib.import_module(file.stem)).items():
            for entry in value if isinstance(value, list) else [value]:
                named = isinstance(entry, type) and re.fullmatch(r"Case(\d+(_\d+)+)", entry.__name__)
                if named and issubclass(entry, case):
                    found[named[1].replace("_", ".")] = entry
    return {case_id: found[case_id] for case_id in sorted(found, key=order)}


def choose(cases, patterns):
    """The ids that match one of the globs ("6.*", "7.1.3"); a glob that matches none is an error."""
    chosen = set()
    for pattern in patterns:
        regex = re.compile(re.escape(pattern).replace(r"\*", r"[\d.]*"))
        hits = {case_id for case_id in cases if regex.fullmatch(case_id)}
        if not hits:
            raise SystemExit(f"no case matches {pattern!r}")
        chosen |= hits
    return sorted(chosen, key=order)

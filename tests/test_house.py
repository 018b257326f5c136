"""The house stands as it was drawn: imports run downwards, time and chance come from outside, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hustle_sim

HOUSE = Path(hustle_sim.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
ROOMS = (
    "_version", "inputs", "events", "policy", "resilience", "analysis", "simulation", "live", "tuning", "dashboard",
    "cli",
)  # fmt: skip
"""From the ground floor up."""

LIFTABLE = {"httpx", "pydantic", "pydantic_core", "pydantic_settings"}
"""All that the resilience code and what it stands on may import besides the standard library."""


def room_of(path):
    first = path.relative_to(HOUSE).parts[0].removesuffix(".py")
    return None if first == "__init__" else first


def imports(path):
    """(module, name, line, whether it is only for the type checker) of each import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    package = "hustle_sim." + ".".join(path.relative_to(HOUSE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, "", node.lineno, id(node) in for_types
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.rstrip(".").split(".")
                base = ".".join(parts[: len(parts) - node.level + 1] + ([base] if base else []))
            for name in node.names:
                yield base, name.name, node.lineno, id(node) in for_types


def ours(module, name):
    """The room that an import of ours leads to, or None if it is not ours."""
    if module == "hustle_sim":
        return name
    return module.split(".")[1] if module.startswith("hustle_sim.") else None


def where(path, line):
    return f"{path.relative_to(HOUSE.parent)}:{line}"


def test_every_file_is_in_a_room():
    assert {room_of(path) for path in FILES} - {None} <= set(ROOMS)


def test_imports_run_downwards():
    upwards = [
        f"{where(path, line)} imports {room}"
        for path in FILES
        if (here := room_of(path)) is not None
        for module, name, line, _ in imports(path)
        if (room := ours(module, name)) in ROOMS and ROOMS.index(room) > ROOMS.index(here)
    ]
    assert upwards == []


def test_no_room_imports_the_package_itself():
    through = [
        f"{where(path, line)} imports {name or module} from the package"
        for path in FILES
        if room_of(path) is not None
        for module, name, line, _ in imports(path)
        if module == "hustle_sim" and name not in ROOMS
    ]
    assert through == []


def test_within_a_room_no_two_files_import_each_other():
    arrows = {}
    for path in FILES:
        here = ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts)
        arrows[here] = {
            target
            for module, name, _, for_types in imports(path)
            if not for_types
            for target in (module, f"{module}.{name}")
            if target.startswith("hustle_sim.")
        }

    def circle(at, trail):
        if at in trail:
            return [*trail[trail.index(at) :], at]
        for target in sorted(arrows.get(at, ())):
            if found := circle(target, [*trail, at]):
                return found
        done.add(at)
        arrows[at] = set()
        return None

    done = set()
    assert [found for start in sorted(arrows) if (found := circle(start, []))] == []


@pytest.mark.parametrize("path", sorted((HOUSE / "resilience").glob("*.py")), ids=lambda path: path.name)
def test_the_resilience_code_could_be_lifted_out(path):
    foreign = {
        f"{module} in line {line}"
        for module, name, line, _ in imports(path)
        if module.split(".")[0] not in sys.stdlib_module_names | LIFTABLE
        and ours(module, name) not in ("resilience", "policy", "events", "inputs", "_version")
    }
    assert foreign == set()


@pytest.mark.real
def test_importing_the_resilience_code_loads_no_simulator_screen_or_frame():
    # The package's own __init__ offers simulate and so on: a room is imported here without it.
    code = f"""if True:
        import sys, types
        package = types.ModuleType("hustle_sim")
        package.__path__ = [{str(HOUSE)!r}]
        sys.modules["hustle_sim"] = package
        import hustle_sim.resilience
        heavy = {{"simpy", "panel", "panel_material_ui", "bokeh", "holoviews", "pandas", "numpy", "pyarrow", "param"}}
        print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


# Where real time and real chance come in: live sessions, the practice backend and the server.
CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.sleep", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
}  # fmt: skip
CHANCE = {
    *(f"random.{name}" for name in (
        "random", "uniform", "choice", "choices", "randint", "randrange", "gauss", "normalvariate", "expovariate",
        "lognormvariate", "shuffle", "sample", "seed", "getrandbits", "betavariate", "gammavariate", "SystemRandom",
        "triangular", "Random",
    )),
    "uuid.uuid1", "uuid.uuid4", "os.urandom", "secrets.token_hex", "secrets.token_bytes", "secrets.token_urlsafe",
    "secrets.choice", "secrets.randbelow",
}  # fmt: skip
ALLOWED_ROOMS = {"live", "dashboard"}
ALLOWED_CALLS = {
    ("simulation/loop.py", "time.monotonic"), ("simulation/loop.py", "time.perf_counter"),
    ("simulation/handles.py", "time.monotonic"), ("tuning/experiment.py", "time.perf_counter"),
}  # fmt: skip


def dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def full_names(path):
    """(dotted name with the imports resolved, line) of every attribute and name in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known.update({name.asname or name.name.split(".")[0]: (name.asname and name.name) or name.name.split(".")[0]
                          for name in node.names})  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = dotted(node)
            first, _, rest = name.partition(".")
            if first in known:
                yield known[first] + ("." + rest if rest else ""), node.lineno


def test_time_and_chance_come_from_outside():
    found = [
        f"{where(path, line)} uses {name}"
        for path in FILES
        if room_of(path) not in ALLOWED_ROOMS
        for name, line in full_names(path)
        if (name in CLOCKS | CHANCE or name.startswith("numpy.random."))
        and (path.relative_to(HOUSE).as_posix(), name) not in ALLOWED_CALLS
        # A generator of one's own, from a seed, is no global chance.
        and name not in {"numpy.random.Generator", "numpy.random.Philox", "numpy.random.SeedSequence"}
    ]
    assert found == []


@pytest.mark.parametrize("line", [
    "import time\ntime.time()", "from time import time as t\nt()", "import datetime as d\nd.datetime.now()",
    "from datetime import datetime\ndatetime.now()", "import random\nrandom.random()",
    "import numpy as np\nnp.random.rand()",
    "from random import gauss\ngauss(0, 1)", "import uuid\nuuid.uuid4()",
])  # fmt: skip
def test_the_rule_sees_each_way_of_asking(line, tmp_path):
    (tmp_path / "x.py").write_text(line)
    names = {name for name, _ in full_names(tmp_path / "x.py")}
    assert any(
        name in CLOCKS | CHANCE or name.removeprefix("datetime.") in CLOCKS or name.startswith("numpy.random.")
        for name in names
    )


def test_no_file_is_longer_than_600_lines():
    lengths = {path.relative_to(HOUSE.parent).as_posix(): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 600} == {}


def test_the_resilience_code_never_prints_and_never_swallows_a_cancellation():
    for path in (HOUSE / "resilience").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert dotted(node.func) != "print", where(path, node.lineno)
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, where(path, node.lineno)
                caught = {dotted(each) for each in ast.walk(node.type) if isinstance(each, ast.Name | ast.Attribute)}
                if caught & {"BaseException", "asyncio.CancelledError", "CancelledError"}:
                    ends = [each for each in ast.walk(node) if isinstance(each, ast.Raise)]
                    assert ends, where(path, node.lineno)

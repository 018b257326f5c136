"""Does a visitor who leaves give everything back? ``python -m benchmarks.sessions``

A server in a process of its own; visitors come over HTTP and a websocket, go through every place, and leave. The
memory of the server's process is read when all sessions have ended: after a warm-up, and after all the visits.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from bokeh.client import pull_session

from hustle_sim.dashboard.app import PLACES

_ROOT = Path(__file__).parent.parent


def resident_mb(process: int) -> float:
    """The memory of a process that is in RAM, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {process} tells no VmRSS")


@contextlib.contextmanager
def server() -> Iterator[tuple[str, int]]:
    """A dashboard on a free port: its address and its process."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", "from hustle_sim.cli import main; main()", "serve", "--port", "0"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={
                **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(_ROOT),
                "HUSTLE_STORE": str(Path(folder) / "queue.sqlite3"),
                "BOKEH_LOG_LEVEL": "error",
            },
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield line.split(" at ")[1].split(" ")[0], process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def visit(url: str) -> None:
    """Open the dashboard, go through all places, and leave."""
    session = pull_session(url=url)
    try:
        menu = next(model for model in session.document.models if getattr(model, "class_name", "") == "Menu")
        for place in PLACES[1:]:
            menu.data.place = place.name
            session.force_roundtrip()
    finally:
        session.close()


def empty(url: str, patience_s: float = 120.0) -> None:
    """Wait until no session is left: the server looks every 17 s for those that nobody uses."""
    until = time.monotonic() + patience_s
    while httpx.get(f"{url}/health", timeout=30).json()["sessions"]:
        if time.monotonic() > until:
            raise RuntimeError("sessions are left after two minutes")
        time.sleep(1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What is left of sessions that ended.")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    options = parser.parse_args()
    with server() as (url, process):
        for _ in range(options.warm_up):
            visit(url)
        empty(url)
        before = resident_mb(process)
        print(f"after {options.warm_up} sessions of warm-up  {before:7.1f} MB")
        began = time.monotonic()
        for number in range(options.sessions):
            visit(url)
            if (number + 1) % 20 == 0:
                print(f"{number + 1:4} sessions, some still open   {resident_mb(process):7.1f} MB", flush=True)
        took = time.monotonic() - began
        empty(url)
        after = resident_mb(process)
        print(f"after {options.sessions} sessions, all ended    {after:7.1f} MB ({after / before - 1:+.1%})")
        print(f"{took / options.sessions:.2f} s a session with {len(PLACES)} places")


if __name__ == "__main__":
    main()

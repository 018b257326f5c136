"""``python -m benchmarks``: every figure of the project's cost, in one run."""

from __future__ import annotations

from benchmarks import durable, experiments, loop, stack


def main() -> None:
    """Measure and print."""
    for title, figures in (
        ("The loop", loop.measure()),
        ("The stack", stack.measure()),
        ("Memory", stack.memory()),
        ("The durable queue (ratios: time of ours over theirs)", durable.measure()),
        ("Experiments", experiments.measure()),
    ):
        print(f"\n{title}")
        for name, value in figures.items():
            print(f"  {name:85} {value:>12,.2f}")


if __name__ == "__main__":
    main()

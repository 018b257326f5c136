"""What the simulation costs: ``python -m benchmarks`` prints it all, as ratios taken in one run."""

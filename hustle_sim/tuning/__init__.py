"""Many runs, one answer: explain, lint, compare, sweep, tune."""

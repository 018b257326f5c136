"""Many runs, one answer: explain, lint, compare, sweep, tune, check; and the way home: export."""

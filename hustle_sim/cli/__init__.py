"""The command line ``hustle-sim``: a file for each family of commands."""

from hustle_sim.cli.main import app, main

__all__ = ["app", "main"]

"""The version of hustle_sim, in one place."""

__version__ = "0.1.0"

"""``panel serve app.py`` serves the dashboard."""

from hustle_sim.dashboard import create_app

create_app().servable()

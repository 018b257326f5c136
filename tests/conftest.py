"""What holds for all tests."""

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the code: virtual time tells of that.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A dashboard for the browser tests of a worker; files that do something to theirs have one of their own."""
    from browser import served

    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    """A Chromium. Not for the whole session: as long as it is there, no other test may run a loop in this thread."""
    from browser import browsers

    with browsers() as running:
        yield running


@pytest.fixture
def visitor(browser, server):
    """A visitor who, at the end, has heard no complaint and was sent to no stranger."""
    from browser import visit

    with visit(browser, server.url) as someone:
        yield someone
        assert someone.strangers == []
        assert someone.complaints == []


def pytest_collection_modifyitems(items):
    """What takes longest begins first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: not (item.get_closest_marker("browser") or item.path.suffix == ".ipynb"))

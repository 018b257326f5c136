"""What a browser would do to a session, for tests without one."""

import asyncio

import panel as pn
from panel.io.state import set_curdoc


def load(document):
    """Do what waits for the page to be in a browser: figures are drawn then."""

    async def all_that_waits():
        for callback, _ in pn.state._onload.pop(document, []):
            made = callback()
            if made is not None:
                await made

    with set_curdoc(document):
        asyncio.run(all_that_waits())

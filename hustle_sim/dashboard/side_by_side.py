"""Controls and results of a place: beside each other, or on a narrow screen under each other.

There the controls fold away under a heading, so that what somebody came to see is what they see.
"""

from __future__ import annotations

from typing import Any

import panel as pn

from hustle_sim.dashboard import styles
from hustle_sim.dashboard.fold import Fold

_GRID = f"""
:host {{
  display: grid !important; grid-template-columns: clamp(290px, 24vw, 348px) minmax(0, 1fr); gap: 20px;
  align-items: start; padding: 20px; box-sizing: border-box; width: 100%; max-width: 1760px; margin: 0 auto !important;
  max-height: none !important;
}}
:host > * {{ min-width: 0; }}
:host > .fold-controls {{ display: none; }}
@media ({styles.NARROW}) {{
  :host {{ grid-template-columns: minmax(0, 1fr); padding: 12px; gap: 14px; }}
  :host > .fold-controls {{ display: block; }}
  :host(.folded) > .controls {{ display: none; }}
}}
"""


def side_by_side(controls: Any, results: Any, title: str, *, is_open: bool) -> pn.Column:
    """Controls (a box of the class ``controls``) at the left and results at the right, in a box that can be hidden.

    ``title`` is the heading under which a narrow screen has the controls, ``is_open`` whether it shows them at first.
    """
    fold = Fold(title=title, open=is_open, margin=0, css_classes=["fold-controls"])
    grid = pn.Column(fold, controls, results, sizing_mode="stretch_width", margin=0, stylesheets=[_GRID])

    def show(*_: Any) -> None:
        grid.css_classes = [] if fold.open else ["folded"]

    show()
    fold.param.watch(show, "open")
    # A grid itself does not heed ``visible``.
    return pn.Column(grid, sizing_mode="stretch_width", margin=0, stylesheets=[styles.BARE])

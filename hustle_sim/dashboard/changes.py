"""Changes to what a visitor sees."""

from __future__ import annotations

from typing import Any


def change(view: Any, **values: Any) -> None:
    """Change only what differs, so that nothing is sent that the page knows."""
    changed = {name: value for name, value in values.items() if getattr(view, name) != value}
    if changed:
        view.param.update(**changed)

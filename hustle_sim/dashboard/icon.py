"""The icon of the pages: a heartbeat with a gap, as a data URL, so that no file has to be found."""

from __future__ import annotations

from urllib.parse import quote

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="7" fill="#18233F"/>'
    '<path d="M3 18h6l3-9 4 15 2-6" fill="none" stroke="#37BBA3" stroke-width="2.6" stroke-linecap="round"'
    ' stroke-linejoin="round"/>'
    '<path d="M24 18h5" stroke="#F1C426" stroke-width="2.6" stroke-linecap="round"/>'
    "</svg>"
)

ICON = "data:image/svg+xml," + quote(_SVG)
"""For ``<link rel="icon">``."""

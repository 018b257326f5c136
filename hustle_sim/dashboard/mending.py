"""What Material's components leave unsaid to a screen reader is said here, until they say it themselves.

panel-material-ui 0.16: the buttons beside a number and progress bars have no name, the mark of a description has one
that its role does not allow, a space is a heading, the heading of what unfolds has another one in it, and a
list box holds items of a menu, none of them the selected one. Each mend does nothing where it is not needed.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import panel as pn

_ESM = """
const words = (element) => element.closest(".MuiFormControl-root")?.querySelector("label")?.textContent ?? ""

const MENDS = [
  [".MuiInputBase-adornedStart.MuiInputBase-adornedEnd .MuiInputAdornment-root button:not([aria-label])", (button) => {
    const less = button.parentElement.classList.contains("MuiInputAdornment-positionStart")
    button.setAttribute("aria-label", `${less ? "Less" : "More"}: ${words(button)}`)
    button.tabIndex = -1  // the arrow keys do the same in the field itself
  }],
  ["[role=progressbar]:not([aria-label]):not([aria-labelledby])", (bar) => bar.setAttribute("aria-label", "Progress")],
  ["span[aria-label]:not([role])", (mark) => mark.setAttribute("role", "img")],
  ["[role=listbox] > [role=menuitem]", (item) => {
    item.setAttribute("role", "option")
    const shown = item.getRootNode().querySelector("[role=combobox][aria-expanded=true]")?.textContent
    item.setAttribute("aria-selected", item.textContent === shown ? "true" : "false")
  }],
  [".MuiAccordion-heading h6:not([role])", (title) => title.setAttribute("role", "presentation")],
  ["h5.MuiTypography-h5:not([role])", (space) => {
    if (space.textContent.trim() === "") { space.setAttribute("role", "presentation") }
  }],
]

const mend = (root) => {
  for (const [selector, how] of MENDS) {
    if (root.matches?.(selector)) { how(root) }
    for (const element of root.querySelectorAll(selector)) { how(element) }
  }
}

const watch = (root) => {
  mend(root)
  new MutationObserver((records) => {
    for (const record of records) {
      for (const node of record.addedNodes) {
        if (node.nodeType === Node.ELEMENT_NODE) { mend(node) }
      }
    }
  }).observe(root, {childList: true, subtree: true})
}

const walk = (root) => {
  watch(root)
  for (const element of root.querySelectorAll("*")) {
    if (element.shadowRoot) { walk(element.shadowRoot) }
  }
}

export function render() {
  if (!window.hustleMends) {
    window.hustleMends = true
    walk(document)
    const attach = Element.prototype.attachShadow
    Element.prototype.attachShadow = function (options) {
      const root = attach.call(this, options)
      watch(root)
      return root
    }
  }
  return document.createElement("span")
}
"""


class Mending(pn.custom.JSComponent):
    """Nothing to see; it belongs into the page once."""

    _esm = _ESM

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"margin": 0, "width": 0, "height": 0, "sizing_mode": "fixed", **params})

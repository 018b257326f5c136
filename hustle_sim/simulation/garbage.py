"""Automatic garbage collection, paused for the whole process while any loop of virtual time runs.

It comes at moments that depend on what else the process did, and the finalizers that it calls can act on a run.
"""

from __future__ import annotations

import gc
import threading

_lock = threading.Lock()
_pauses = 0
_was_enabled = False


def pause() -> None:
    """Turn it off; each call needs one of ``resume``."""
    global _pauses, _was_enabled
    with _lock:
        if _pauses == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1


def resume() -> None:
    """Put it back as it was, once everybody who paused it has resumed."""
    global _pauses
    with _lock:
        _pauses -= 1
        if _pauses == 0 and _was_enabled:
            gc.enable()

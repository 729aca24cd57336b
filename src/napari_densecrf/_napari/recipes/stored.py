"""What survives napari: states of plain values, in Qt's settings of the user."""

from __future__ import annotations

import json
from typing import Any

from qtpy.QtCore import QSettings


def load(what: str = "widget") -> dict[str, Any]:
    """Return what was saved last, or nothing."""
    try:
        saved = json.loads(_store().value(what, "{}"))
    except (TypeError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def save(state: dict[str, Any], what: str = "widget") -> None:
    """Keep a state of plain values: of the ``widget``, or its ``presets``."""
    _store().setValue(what, json.dumps(state))


def _store() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-densecrf", "napari-densecrf")

"""What survives the end of napari: the numbers, relative to the image, and which folds are open."""

from __future__ import annotations

import json
from typing import Any

from qtpy.QtCore import QSettings


def load() -> dict[str, Any]:
    """Return what was saved last, or nothing."""
    try:
        saved = json.loads(_store().value("widget", "{}"))
    except (TypeError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def save(state: dict[str, Any]) -> None:
    """Keep a state of plain values."""
    _store().setValue("widget", json.dumps(state))


def _store() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-densecrf", "napari-densecrf")

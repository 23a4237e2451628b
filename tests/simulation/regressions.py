"""Histories that failed once, made small: a JSON file that is carried out before all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

History = dict[str, Any]

FILE = Path(__file__).with_name("regressions.json")


def load() -> dict[str, History]:
    """Every history by its name."""
    if not FILE.exists():
        return {}
    kept = json.loads(FILE.read_text("ascii"))
    return {entry["name"]: entry["history"] for entry in kept}


def keep(history: History, why: str) -> str:
    """Keep a history under a new name; one that is there already stays as it is."""
    kept = json.loads(FILE.read_text("ascii")) if FILE.exists() else []
    for entry in kept:
        if entry["history"] == history:
            return str(entry["name"])
    name = f"{history['protocol']} {history['mode']} {history['seed']}"
    names = {entry["name"] for entry in kept}
    while name in names:
        name += "+"
    kept.append({"name": name, "why": why, "history": history})
    FILE.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in kept) + "\n]\n", "ascii")
    return name

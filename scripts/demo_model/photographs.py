"""stub until merged"""

from pathlib import Path


def photographs(folder: Path, *, held_out: bool) -> list:
    return []


def photograph(path):
    raise NotImplementedError

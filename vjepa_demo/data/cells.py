"""Cells of tables: formulas are made harmless, column names and video paths are compared. Loads no library."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Spreadsheets run a cell that begins so as a formula (OWASP, CSV Injection); an apostrophe makes it text.
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def plain(column: str) -> str:
    """A column's name without case and punctuation: equal for names that differ in nothing else."""
    return re.sub(r"[\W_]+", "", column.casefold())


def as_text(cell: str) -> str:
    """`cell`, with an apostrophe before it where a spreadsheet would take it for a formula, such as =A1 or +1."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def as_cell(cell: str) -> str:
    """`as_text` of a cell, except that a number such as -3.5, and a dash for no value, stay as they are."""
    return cell if NUMBER.fullmatch(cell) or cell == "-" else as_text(cell)


def as_written(cell: str) -> str:
    """`cell` as it was before `as_text`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def path_parts(path: str, ignore_case: bool = False) -> tuple[str, ...]:
    """The folders and the name of a path that was written on any system; `.` and `..` are left out."""
    path = unicodedata.normalize("NFC", path).replace("\\", "/")  # macOS stores letters and accents apart
    path = path.casefold() if ignore_case else path
    return tuple(part for part in path.split("/") if part not in ("", ".", ".."))


def same_tail(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the shorter path is the end of the longer one."""
    return all(left == right for left, right in zip(reversed(one), reversed(other), strict=False))

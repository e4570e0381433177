"""Cells of tables: formulas made harmless, names of columns and paths of videos compared. Loads no library."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# A cell that begins so is run as a formula by spreadsheets (OWASP, CSV Injection); an apostrophe makes it text.
FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def plain(column: str) -> str:
    """What two names of a column that differ only in case and punctuation have in common."""
    return re.sub(r"[\W_]+", "", column.casefold())


def as_text(cell: str) -> str:
    """`cell` with an apostrophe where a spreadsheet would not show it as it is: a formula, and a text such as +1."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def as_cell(cell: str) -> str:
    """`as_text` of a cell that may be a number, as it comes: -3.5 stays one, and so does a dash for no value."""
    return cell if NUMBER.fullmatch(cell) or cell == "-" else as_text(cell)


def as_written(cell: str) -> str:
    """`cell` before `as_text`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def path_parts(path: str, ignore_case: bool = False) -> tuple[str, ...]:
    """Folders and name of a path as somebody wrote it, on whatever system; `.` and `..` left out."""
    path = unicodedata.normalize("NFC", path).replace("\\", "/")  # macOS takes letters and accents apart
    path = path.casefold() if ignore_case else path
    return tuple(part for part in path.split("/") if part not in ("", ".", ".."))


def same_tail(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the shorter path is the end of the longer one."""
    return all(left == right for left, right in zip(reversed(one), reversed(other), strict=False))

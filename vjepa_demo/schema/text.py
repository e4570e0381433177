"""Text that can be written: to a file, a terminal, as JSON, and into a Markdown page."""

from __future__ import annotations

import re

MARKS = re.compile(r"[\\`*\[\]<>|&~]|(?<!\w)_|_(?!\w)|^[#+-]")  # within a line; at its beginning, those of a block


def well_formed(text: str) -> str:
    """`text` with U+FFFD in the place of each lone surrogate, which UTF-8 cannot write.

    They come from file names that are not UTF-8 and from JSON such as "\\ud83d". Two that belong together become the
    character that they stand for.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_markdown(text: str) -> str:
    """`text` on one line, as words of a Markdown page: no link, no HTML, no table, no heading of its own."""
    return MARKS.sub(lambda found: f"\\{found.group()}", " ".join(text.split()))

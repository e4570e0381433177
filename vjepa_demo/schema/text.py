"""Text that can be written: to a file, a terminal, and as JSON."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """`text` with U+FFFD in the place of each lone surrogate, which UTF-8 cannot write.

    They come from file names that are not UTF-8 and from JSON such as "\\ud83d". Two that belong together become the
    character that they stand for.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

"""A number that was measured, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and its bootstrap standard error; None where undefined, or where no error was asked for."""

    value: float | None
    standard_error: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.standard_error is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


UNDEFINED = Estimate(None)

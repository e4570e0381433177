"""Which of two clips is better: what people answered, and how often a model's scores say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vjepa_demo.ranges import PAIRS_LEARNED, check
from vjepa_demo.schema.estimate import UNDEFINED, Estimate

Answer = Literal["a", "b", "same"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
# Where the threshold of a tie comes from: the pairs that the model learned from, or evaluated pairs of other prompts.
ThresholdSource = Literal["training pairs", "pairs of other prompts"]


@dataclass(frozen=True)
class PairAccuracy:
    """How often a model's scores of one dimension say what people answered, over `n` pairs, `num_same` of them "same".

    `without_ties` is the share of right answers over the pairs with a better clip: the better one has the higher score,
    and equal scores are wrong. `with_ties` is the share over all pairs: scores say "same" where they differ by at most
    `tie_threshold` (None where each pair had one of its own). `guess_...` are the same for somebody who always gives
    the commonest answer of these very pairs; `lead` is `without_ties` above its guess.
    """

    n: int
    num_same: int
    without_ties: Estimate
    with_ties: Estimate
    guess_without_ties: Estimate
    guess_with_ties: Estimate
    lead: Estimate
    tie_threshold: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """The JSON object of one dimension: the values with the standard errors of the two accuracies."""
        return {
            "n": self.n,
            "num_same": self.num_same,
            "without_ties": self.without_ties.value,
            "without_ties_standard_error": self.without_ties.standard_error,
            "guess_without_ties": self.guess_without_ties.value,
            "with_ties": self.with_ties.value,
            "with_ties_standard_error": self.with_ties.standard_error,
            "guess_with_ties": self.guess_with_ties.value,
            "tie_threshold": self.tie_threshold,
        }


@dataclass(frozen=True)
class PairEvaluation:
    """Pair accuracy over `n` pairs of clips that have any answer.

    `dimensions` holds those with answers, in the order of `DIMENSIONS`. `lead` is the mean of their leads. The model
    learned from a clip of `num_learned` of the pairs that were given; `num_left_out`, all of those or none, are not
    among `n`. Nor are `num_unknown` pairs of which a clip was deleted meanwhile.
    """

    n: int
    dimensions: Mapping[str, PairAccuracy]
    lead: Estimate = UNDEFINED
    threshold_from: ThresholdSource = "pairs of other prompts"
    num_learned: int = 0
    num_left_out: int = 0
    num_unknown: int = 0

    @property
    def share_told(self) -> float | None:
        """The share, 0 to 1, of better clips that are told: `without_ties`, the mean of the dimensions; None where no
        pair has a better clip."""
        shares = [each.without_ties.value for each in self.dimensions.values() if each.without_ties.value is not None]
        return sum(shares) / len(shares) if shares else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that stands under "pairs" in that of an `Evaluation`."""
        return {
            "n": self.n,
            "dimensions": {name: each.to_dict() for name, each in self.dimensions.items()},
            "lead": self.lead.value,
            "lead_standard_error": self.lead.standard_error,
            "threshold_from": self.threshold_from,
            "num_learned": self.num_learned,
            "num_left_out": self.num_left_out,
            "num_unknown": self.num_unknown,
        }


@dataclass(frozen=True)
class PairsLearned:
    """What a checkpoint says of the `num_pairs` pairs that it learned from, and of `num_held_out` others.

    `accuracy` and `guess` map a dimension to the accuracy without ties on the others, and to that of always guessing.
    `tie_thresholds` are the score differences up to which two clips count as "same", chosen on the pairs it learned
    from. `lead` is that of `PairEvaluation`.
    """

    num_pairs: int
    num_held_out: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)
    guess: dict[str, float] = field(default_factory=dict)
    tie_thresholds: dict[str, float] = field(default_factory=dict)
    lead: float | None = None
    lead_standard_error: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what no training run can have written: the fields may come from a file."""
        check(vars(self), PAIRS_LEARNED)

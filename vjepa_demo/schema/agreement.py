"""How well scores agree with labels: metrics with their standard errors, beside the no-video baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vjepa_demo.schema.estimate import UNDEFINED, Estimate
from vjepa_demo.schema.pairs import PairEvaluation
from vjepa_demo.schema.scores import standing

METRICS = ("srocc", "plcc", "krocc", "rmse")


@dataclass(frozen=True)
class DimensionMetrics:
    """Agreement on one dimension over its `n` labelled clips: correlations -1..1 (Spearman's, Pearson's, Kendall's
    tau-b, ties handled) and the root mean squared error in MOS."""

    n: int
    srocc: Estimate
    plcc: Estimate
    krocc: Estimate
    rmse: Estimate

    def to_dict(self) -> dict[str, float | None]:
        """The four values, without their errors."""
        return {name: getattr(self, name).value for name in METRICS}


@dataclass(frozen=True)
class Coverage:
    """The share of labels, 0 to 1, that lie in the interval of their score, of the `n` clips that have both."""

    n: int
    share: Estimate


@dataclass(frozen=True)
class Gain:
    """What training changed: `before` are the metrics of the model as it was, on the same clips.

    `srocc` (by dimension) and `vquala_score` are those after training less those before, undefined where either is.
    Their standard errors come from the same resamples of the clips for both.
    """

    before: Evaluation
    srocc: Mapping[str, Estimate]
    vquala_score: Estimate

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that stands under "gain" in that of an `Evaluation`."""
        return {
            "dimensions": {
                name: {
                    "srocc_before": self.before.dimensions[name].srocc.value,
                    "srocc_gain": each.value,
                    "standard_error": each.standard_error,
                }
                for name, each in self.srocc.items()
            },
            "vquala_score_before": self.before.vquala_score.value,
            "vquala_score_gain": self.vquala_score.value,
            "standard_error": self.vquala_score.standard_error,
            **({} if self.before.pairs is None else {"pairs_before": self.before.pairs.to_dict()}),
        }


@dataclass(frozen=True)
class Evaluation:
    """Agreement over the `n` clips that have any label.

    `dimensions` holds those that have labels, in the order of `DIMENSIONS`. `no_video_baseline` is the same for what
    `no_video_baseline()` predicts for the same clips. `lead` is how far the model's VQualA score is above the
    baseline's, or above 0, which is chance, where the baseline's is undefined or below 0. The model
    learned from `num_learned` of the clips that were given; `num_left_out`, all of those or none, are not among `n`.
    Nor are `num_unknown` clips that were deleted meanwhile: nobody can tell whether the model learned from them.
    `coverage` holds the dimensions in which the model gave intervals, made to hold a share of `INTERVAL_LEVEL`.
    `pairs` is the accuracy on pairs of clips, where there are some; `n` may then be 0. `gain` is there after the
    training of a model that could score before.
    """

    n: int
    dimensions: dict[str, DimensionMetrics]
    vquala_score: Estimate
    no_video_baseline: Evaluation | None = None
    lead: Estimate = UNDEFINED
    num_learned: int = 0
    num_left_out: int = 0
    num_unknown: int = 0
    pairs: PairEvaluation | None = None
    coverage: Mapping[str, Coverage] = field(default_factory=dict)
    gain: Gain | None = None

    @property
    def beats_baseline(self) -> bool | None:
        """Whether the lead is clear of its standard error; None without a baseline or a score. The lead is that on
        pairs where no clip has a label."""
        if self.pairs is not None and not self.n and self.pairs.lead.value is not None:
            return standing(self.pairs.lead.value, self.pairs.lead.standard_error) == "beats"
        if self.no_video_baseline is None or self.lead.value is None:
            return None
        return standing(self.lead.value, self.lead.standard_error) == "beats"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `evaluate --json` prints; `no_video_baseline` is the baseline's VQualA score.

        Errors and the baseline's own metrics are in `dataclasses.asdict`.
        """
        baseline = self.no_video_baseline
        return {
            "n": self.n,
            "dimensions": {name: metrics.to_dict() for name, metrics in self.dimensions.items()},
            "vquala_score": self.vquala_score.value,
            "no_video_baseline": None if baseline is None else baseline.vquala_score.value,
            "beats_baseline": self.beats_baseline,
            "num_learned": self.num_learned,
            "num_left_out": self.num_left_out,
            "num_unknown": self.num_unknown,
            "coverage": {name: {"n": each.n, "share": each.share.value} for name, each in self.coverage.items()},
            **({} if self.pairs is None else {"pairs": self.pairs.to_dict()}),
            **({} if self.gain is None else {"gain": self.gain.to_dict()}),
        }

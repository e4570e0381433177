"""What a person's ratings taught a model so far, and which clip to ask about next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema.agreement import Evaluation

MIN_RATED_CLIPS = 10  # a head is learned from so many; the fewest points of its curve
Strategy = Literal["random", "spread", "disagreement", "both"]
DEFAULT_STRATEGY: Strategy = "spread"  # docs/which-next.md has the measurement


@dataclass(frozen=True)
class Learned:
    """How well heads that learned from some of `num_clips` rated clips agree with the ratings of the others.

    `after` judges the learned heads, each on clips that it had not seen, beside the no-video baseline; `before` judges
    the model as it was, on the same clips. Where `by_prompt`, no head had seen a clip of the same prompt either; it is
    False where all clips have one prompt. `ceiling` is the correlation that the ratings have with themselves (a rater
    with their own repeats, or raters with each other), where the caller knows it.
    """

    num_clips: int
    after: Evaluation
    before: Evaluation
    by_prompt: bool = True
    ceiling: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def not_gained(self) -> tuple[str, ...]:
        """The dimensions in which what was learned does not agree better than the model as it was."""
        return tuple(
            name
            for name, metrics in self.after.dimensions.items()
            if (after := metrics.srocc.value) is None
            or ((before := self.before.dimensions[name].srocc.value) is not None and after <= before)
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of one point of the curve: for each rated dimension its rank correlations and their errors.

        `ceiling`, `no_video` and the others are None where they are undefined.
        """
        baseline = self.after.no_video_baseline
        dimensions = {}
        for name in DIMENSIONS:
            if name in self.after.dimensions:
                after, before = self.after.dimensions[name].srocc, self.before.dimensions[name].srocc
                dimensions[name] = {
                    "n": self.after.dimensions[name].n,
                    "after": after.value,
                    "after_standard_error": after.standard_error,
                    "before": before.value,
                    "before_standard_error": before.standard_error,
                    "no_video": None if baseline is None else baseline.dimensions[name].srocc.value,
                    "ceiling": self.ceiling.get(name),
                }
        return {"num_clips": self.num_clips, "by_prompt": self.by_prompt, "dimensions": dimensions}


def curve_sizes(num_clips: int) -> tuple[int, ...]:
    """The numbers of rated clips at which a curve up to `num_clips` has a point: from ten, each half as much again."""
    sizes = [MIN_RATED_CLIPS]
    while sizes[-1] < num_clips:
        sizes.append(min(num_clips, sizes[-1] * 3 // 2))
    return tuple(sizes) if num_clips >= MIN_RATED_CLIPS else ()

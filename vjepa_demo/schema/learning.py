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
    the model as it was, on the same clips. Both say from how many of the clips that model had learned itself
    (`num_learned`), and whether those were left out of the judgement. Where `by_prompt`, no head had seen a clip of the
    same prompt either; it is False where all clips have one prompt, or hang together by videos with several prompts.
    `ceiling` is an estimate of the highest correlation that a perfect model would reach with such ratings
    (`DimensionRatings.ceiling`), where the caller knows it.
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

        `ceiling`, `no_video` and the others are None where they are undefined. `no_video` is None unless `by_prompt`
        too: with one prompt it is -1 by construction.
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
                    "no_video": baseline.dimensions[name].srocc.value if baseline and self.by_prompt else None,
                    "ceiling": self.ceiling.get(name),
                }
        return {
            "num_clips": self.num_clips,
            "by_prompt": self.by_prompt,
            "num_learned": self.after.num_learned,
            "num_left_out": self.after.num_left_out,
            "dimensions": dimensions,
        }


def curve_sizes(num_clips: int) -> tuple[int, ...]:
    """The numbers of rated clips at which a curve up to `num_clips` has a point: from ten, each half as much again."""
    sizes = [MIN_RATED_CLIPS]
    while sizes[-1] < num_clips:
        sizes.append(min(num_clips, sizes[-1] * 3 // 2))
    return tuple(sizes) if num_clips >= MIN_RATED_CLIPS else ()

"""The fragments and the chart of the Rate tab, from values alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vjepa_demo.app import rate_html as fragments
from vjepa_demo.app.charts import agreement_curves
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.metrics import evaluate
from vjepa_demo.schema.learning import Learned
from vjepa_demo.schema.rating import (
    DimensionRatings,
    RaterScore,
    RatingProgress,
    Statistic,
    StudyStatistics,
)


@pytest.fixture(scope="module")
def point() -> Learned:
    """Twelve clips; the prompts tell something of Traditional, the first dimension, and of Temporal."""
    rng = np.random.default_rng(0)
    labels = np.full((12, len(DIMENSIONS)), np.nan)
    labels[:, [0, 2]] = rng.uniform(1, 5, (12, 2))
    noise = rng.normal(size=labels.shape)
    after, before = (evaluate(np.nan_to_num(labels) + by * noise, labels, baseline=labels) for by in (0.1, 1))
    return Learned(12, after, before, ceiling={DIMENSIONS[0]: None, DIMENSIONS[2]: 0.9})


def lines(points: list[Learned]) -> dict[str, list[bool]]:
    """Of each line of the chart whether the legend explains it, a panel after the other."""
    found: dict[str, list[bool]] = {}
    for trace in agreement_curves(points).data:
        if trace.name:
            assert None not in trace.y
            found.setdefault(trace.name, []).append(trace.showlegend)
    return found


def test_what_is_not_known_has_no_line_and_what_is_stands_in_the_legend_once(point):
    twice = [True, False]
    assert lines([point]) == {"learned": twice, "before": twice, "no video": twice, "ceiling": [True]}
    assert lines([replace(point, by_prompt=False)]) == {"learned": twice, "before": twice, "ceiling": [True]}


def test_the_ceiling_is_called_an_estimate(point):
    shown = fragments.agreement((point,), 12)
    assert "The highest correlation that a perfect model would reach with such ratings, estimated" in shown
    assert "cannot be reached" not in shown


def test_one_prompt_has_a_dash_for_what_prompts_tell(point):
    assert "<td>1.00</td><td>0.90</td>" in fragments.agreement((point,), 12)
    assert "<td>–</td><td>0.90</td>" in fragments.agreement((replace(point, by_prompt=False),), 12)


def test_it_is_said_where_the_model_had_learned_from_the_clips(point):
    def told(**counts: int) -> str:
        return fragments.agreement((replace(point, after=replace(point.after, **counts)),), 12)

    assert "had learned" not in told()
    assert "had learned from 5 of the clips: they do not judge." in told(num_learned=5, num_left_out=5)
    assert "had learned from 5 of the clips: too few others are there, so both numbers are too high." in told(
        num_learned=5
    )


@pytest.mark.parametrize(("kind", "noun"), [("clips", "7 clips"), ("pairs", "7 pairs")])
def test_a_rater_is_thanked_for_what_was_judged(kind, noun):
    assert fragments.thanks(RatingProgress(9, 9, 7, None), kind) == f"That was all: {noun} judged. Thank you."


def test_the_page_shows_how_inconsistent_a_rater_is():
    number = {name: Statistic(value) for name, value in (("bias", -0.25), ("inconsistency", 0.75))}
    unknown = {name: Statistic(None, "no repeats") for name in ("self_correlation", "self_difference")}
    rater = RaterScore(rater="Ann", num_ratings=9, num_cannot_judge=0, num_repeats=0, **number, **unknown)
    ratings = DimensionRatings((), (rater,), Statistic(None), Statistic(None))
    shown = fragments.statistics(StudyStatistics("", 9, 1, 9, dimensions={"Overall": ratings}))
    assert "<th>bias</th><th>inconsistency</th><th>self</th><th>difference</th>" in shown
    assert "<td>Ann</td><td>9</td><td>−0.25</td><td>0.75</td>" in shown

"""How far scores recovered from ratings are from the true ones, by the two models of ITU-T P.913; no model is loaded.

    python -m benchmarks.rater_models

Raters are drawn: true scores normal around 3 (standard deviation 1), biases 0.4, noise log-normal around 0.6 MOS and
different from rater to rater, ratings rounded to 1..5. Errors are root mean squares up to a constant, in MOS; the share
is that of the true scores that lie in the 95 % interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vjepa_demo.data.raters import recover

STEPS, SMALL = 1000, 1e-8


def weighted_scores(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and their standard errors by the alternating projections of P.913, 12.6."""
    mos = scores.mean(axis=1)
    bias = (scores - mos[:, None]).mean(axis=0)
    for _ in range(STEPS):
        before, noise = mos, np.sqrt(((scores - mos[:, None] - bias) ** 2).mean(axis=0))
        weights = 1 / (noise**2 + SMALL)
        mos = ((scores - bias) * weights).sum(axis=1) / weights.sum()
        bias = (scores - mos[:, None]).mean(axis=0)
        if np.linalg.norm(mos - before) < SMALL:
            break
    noise = np.sqrt(((scores - mos[:, None] - bias) ** 2).mean(axis=0))
    return mos + bias.mean(), np.full(len(mos), 1 / np.sqrt((1 / np.maximum(noise, SMALL) ** 2).sum()))


def main(num_trials: int = 200) -> None:
    print("clips raters   bias removal: error  inside   maximum likelihood: error  inside")
    for num_clips in (24, 80):
        for num_raters in (2, 3, 5, 8, 15, 26):
            rng, found = np.random.default_rng(0), []
            for _ in range(num_trials):
                truth = np.clip(rng.normal(3, 1, num_clips), 1, 5)
                bias, noise = rng.normal(0, 0.4, num_raters), np.exp(rng.normal(np.log(0.6), 0.35, num_raters))
                scores = truth[:, None] + bias + noise * rng.normal(size=(num_clips, num_raters))
                scores = np.clip(np.round(scores), 1, 5)
                plain, (mos, error) = recover(scores), weighted_scores(scores)
                quantile = stats.t.ppf(0.975, (num_clips - 1) * (num_raters - 1))
                there = truth + bias.mean()  # a study knows scores up to what all of its raters share
                found.append(
                    (
                        np.std(plain.mos - truth),
                        np.mean(np.abs(plain.mos - there) <= quantile * plain.standard_error),
                        np.std(mos - truth),
                        np.mean(np.abs(mos - there) <= 1.96 * error),
                    )
                )
            first, inside, second, inside_second = np.mean(found, axis=0)
            print(f"{num_clips:>5}{num_raters:>7}{first:>22.3f}{inside:>8.2f}{second:>28.3f}{inside_second:>8.2f}")


if __name__ == "__main__":
    main()

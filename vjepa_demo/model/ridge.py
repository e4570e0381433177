"""A head for few labels: ridge regression around what a trained head answers, and what it is unsure of.

The answer is `outputs + shift + hidden @ weights`, where `hidden` (N, h) is the first hidden layer of the trained head
and `outputs` (N, 5) its own answer. Without labels it is the trained head; each label moves it, most where clips
resemble the labelled one. `benchmarks/own_labels.py` compares it with training the whole head. Of a model that looks
at a clip several times, what is learned from is the mean of the looks, and the answer is the mean of their answers.

**Ridge** (Hoerl and Kennard 1970) in its dual form: with K = X Xᵀ of the centred features, scaled so that its mean
diagonal is 1, the coefficients are Xᵀ (K + strength I)⁻¹ r. So a strength means the same for every model and number of
clips. Each dimension has its own, the one of `STRENGTHS` with the least squared error in cross-validation.

**Folds** keep groups together, clips of one prompt or one video: a head is never judged on what it learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.model.vjepa import OptimizedMOSHead

Array = NDArray[np.float64]

ALIGNMENT = DIMENSIONS.index("Alignment")

STRENGTHS = 10.0 ** np.arange(-1.5, 2.01, 0.5)
OUTER_FOLDS, INNER_FOLDS = 10, 5
ENSEMBLE = 8  # heads whose disagreement is looked at
MAX_REMEMBERED = 32  # sets of seen clips: a few for each of the raters who are at it


@dataclass(frozen=True)
class HeadInputs:
    """What a trained head makes of each of L looks at N clips: its first hidden layer (N, L, h) and its answers
    (N, L, D), not cut to 1..5.

    `own_hidden_of_looks` (N, L, h) is the layer that Alignment is answered from, where the other dimensions are judged
    with another prompt (see `schema.judging_prompt`).
    """

    hidden_of_looks: Array
    outputs_of_looks: Array
    own_hidden_of_looks: Array | None = None

    @property
    def hidden(self) -> Array:
        """The first hidden layer (N, h), in the mean of the looks."""
        mean: Array = self.hidden_of_looks.mean(axis=1)
        return mean

    @property
    def outputs(self) -> Array:
        """The answers (N, D) in the mean of the looks, none of them cut to 1..5."""
        mean: Array = self.outputs_of_looks.mean(axis=1)
        return mean

    def __getitem__(self, rows: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_] | slice) -> HeadInputs:
        own = None if self.own_hidden_of_looks is None else self.own_hidden_of_looks[rows]
        return HeadInputs(self.hidden_of_looks[rows], self.outputs_of_looks[rows], own)

    def stands_apart(self, column: int) -> bool:
        """Whether the dimension `column` is answered from a hidden layer of its own."""
        return self.own_hidden_of_looks is not None and column == ALIGNMENT

    def hidden_of(self, column: int) -> Array:
        """The hidden layer (N, h) that the dimension `column` is answered from, in the mean of the looks."""
        if self.own_hidden_of_looks is None or column != ALIGNMENT:
            return self.hidden
        mean: Array = self.own_hidden_of_looks.mean(axis=1)
        return mean

    def __len__(self) -> int:
        return len(self.outputs_of_looks)


@dataclass(frozen=True)
class Correction:
    """What is added to a head's answers: `shift` (D,) and the first hidden layer times `weights` (h, D), in MOS."""

    weights: Array
    shift: Array

    def __call__(self, inputs: HeadInputs) -> Array:
        """The corrected answers (N, D), `joined`."""
        added = inputs.hidden_of_looks @ self.weights  # (N, L, D)
        if inputs.own_hidden_of_looks is not None:
            added[..., ALIGNMENT] = inputs.own_hidden_of_looks @ self.weights[:, ALIGNMENT]
        return joined(inputs.outputs_of_looks + self.shift + added)


def joined(of_looks: Array) -> Array:
    """The answers (N, D) of a head that gives these (N, L, D) for L looks, as `VJEPAModel.predict_with_features` joins
    them: of one look not cut to 1..5, of several the mean of what is."""
    cut = of_looks if of_looks.shape[1] == 1 else of_looks.clip(SCORE_MIN, SCORE_MAX)
    mean: Array = cut.mean(axis=1)
    return mean


@torch.no_grad()
def head_inputs(head: OptimizedMOSHead, video: Tensor, text: Tensor) -> HeadInputs:
    """What `head`, in evaluation mode, makes of video features (N, video_dim), of several looks (N, L, video_dim), and
    text features (N, text_dim)."""
    video = video if video.ndim == 3 else video[:, None]
    text = text[:, None].expand(-1, video.shape[1], -1)  # (N, L, text_dim)
    hidden = head.net[:3](torch.cat([video, text], dim=-1).float())  # LayerNorm, Linear, GELU: (N, L, h)
    answers = head.net[3:](hidden)  # (N, L, 5)
    return HeadInputs(hidden.cpu().double().numpy(), answers.cpu().double().numpy())


@torch.no_grad()
def corrected_head(head: OptimizedMOSHead, correction: Correction) -> tuple[OptimizedMOSHead, int]:
    """A head that answers what `correction` makes of the answers of `head`, and its width.

    Two more units a dimension carry `x = hidden @ weights` through the second GELU: GELU(x) - GELU(-x) = x. The first
    layer has to be twice as wide as the second, so it gets units that do nothing.
    """
    old = head.state_dict()
    (h, num_inputs), half, num_dims = old["net.1.weight"].shape, len(old["net.4.bias"]), correction.weights.shape[1]
    width, carry = h + 4 * num_dims, torch.eye(num_dims)
    with torch.device("meta"):  # draws nothing from torch's generators, which a training beside this may use
        grown = OptimizedMOSHead(num_inputs, 0, width)
    new = {name: torch.zeros(value.shape) for name, value in grown.state_dict().items()}
    new |= {name: old[name].clone() for name in ("net.0.weight", "net.0.bias")}  # of the LayerNorm
    new["net.1.weight"][:h], new["net.1.bias"][:h] = old["net.1.weight"], old["net.1.bias"]
    new["net.4.weight"][:half, :h], new["net.4.bias"][:half] = old["net.4.weight"], old["net.4.bias"]
    added = torch.from_numpy(correction.weights.T).float()  # (D, h)
    new["net.4.weight"][half:, :h] = torch.cat([added, -added])
    new["net.7.weight"] = torch.cat([old["net.7.weight"].cpu(), carry, -carry], dim=1)
    new["net.7.bias"] = old["net.7.bias"].cpu() + torch.from_numpy(correction.shift).float()
    grown.load_state_dict({name: value.to(old[name].device) for name, value in new.items()}, assign=True)
    return grown.eval(), width


# ---- learning --------------------------------------------------------------------------------------------------------


def fit(
    inputs: HeadInputs,
    labels: Array,
    groups: Sequence[str],
    *,
    seed: int = 0,
    strengths: NDArray[np.int64] | None = None,
    level_only: Sequence[int] = (),
) -> Correction:
    """The correction that `labels` (N, D), NaN where there is none, call for; none in a dimension with fewer than two.

    `strengths` (D,) are indices into `STRENGTHS`, by default what `choose_strengths` makes of the other arguments. In
    the dimensions `level_only` all answers are shifted alike, so that their order stays.
    """
    weights = np.zeros((inputs.hidden_of_looks.shape[-1], labels.shape[1]))
    shift = np.zeros(labels.shape[1])
    if strengths is None:
        strengths = choose_strengths(inputs, labels, groups, seed=seed)
    for rows, columns in _labelled(inputs, labels):
        known = inputs[rows]
        residuals = (labels[rows] - known.outputs)[:, columns]  # (n, d)
        paths, shifts = _path(known.hidden_of(columns[0]), residuals)  # (S, h, d), (S, d)
        picked = np.arange(len(columns))
        weights[:, columns] = paths[strengths[columns], :, picked].T
        shift[columns] = shifts[strengths[columns], picked]
        for column in set(columns).intersection(level_only):
            weights[:, column] = 0
            shift[column] = (labels[rows, column] - known.outputs[:, column]).mean()
    return Correction(weights, shift)


def choose_strengths(inputs: HeadInputs, labels: Array, groups: Sequence[str], *, seed: int = 0) -> NDArray[np.int64]:
    """For each dimension the index (D,) into `STRENGTHS` with the least squared error in cross-validation; of the
    strongest where there is nothing to choose it by.

    `groups` (N,) say which clips stay together in the folds, `seed` deals them out.
    """
    chosen = np.full(labels.shape[1], len(STRENGTHS) - 1)
    for rows, columns in _labelled(inputs, labels):
        known = inputs[rows]
        hidden, residuals = known.hidden_of(columns[0]), (labels[rows] - known.outputs)[:, columns]
        own = [groups[row] for row in rows.tolist()]
        if len(set(own)) < 2:
            continue
        folds, squares = deal(own, INNER_FOLDS, seed=seed), np.zeros((len(STRENGTHS), len(columns)))
        for fold in range(folds.max() + 1):
            held_out = folds == fold
            weights, shifts = _path(hidden[~held_out], residuals[~held_out])
            predicted = np.einsum("nh,shd->snd", hidden[held_out], weights, optimize=True) + shifts[:, None]
            squares += ((predicted - residuals[held_out]) ** 2).sum(axis=1)
        chosen[columns] = squares.argmin(axis=0)
    return chosen


def cross_validated(
    inputs: HeadInputs, labels: Array, groups: Sequence[str], *, seed: int = 0, level_only: Sequence[int] = ()
) -> Array:
    """For each clip the answers (N, D), not cut to 1..5, of a head that learned from clips of other groups alone;
    `level_only` is as for `fit`.

    Raises:
        ValueError: if there is one group only.
    """
    folds = deal(groups, OUTER_FOLDS, seed=seed)
    predictions = np.empty((len(inputs), labels.shape[1]))
    for fold in range(folds.max() + 1):
        held_out = folds == fold
        rest = np.flatnonzero(~held_out)
        own = [groups[row] for row in rest.tolist()]
        correction = fit(inputs[rest], labels[rest], own, seed=seed, level_only=level_only)
        predictions[held_out] = correction(inputs[held_out])
    return predictions


def deal(groups: Sequence[str], num_folds: int, *, seed: int) -> NDArray[np.int64]:
    """The fold (N,) of each clip, from 0 up: groups are shuffled, and each goes where the fewest clips are.

    There are at most as many folds as groups.

    Raises:
        ValueError: if there is one group only.
    """
    names, of, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} group; at least two are needed to hold one out")
    sizes = np.zeros(min(num_folds, len(names)), dtype=np.int64)
    fold_of = np.empty(len(names), dtype=np.int64)
    for group in np.random.default_rng(seed).permutation(len(names)):
        fold_of[group] = sizes.argmin()
        sizes[fold_of[group]] += counts[group]
    return fold_of[of]


def _labelled(inputs: HeadInputs, labels: Array) -> Iterator[tuple[NDArray[np.int64], list[int]]]:
    """Rows and columns that belong together: the dimensions that have labels for the same clips, and are answered from
    the same hidden layer, are solved at once."""
    columns_of: dict[tuple[bool, bytes], list[int]] = {}
    for column in range(labels.shape[1]):
        key = (inputs.stands_apart(column), (~np.isnan(labels[:, column])).tobytes())
        columns_of.setdefault(key, []).append(column)
    for columns in columns_of.values():
        rows = np.flatnonzero(~np.isnan(labels[:, columns[0]]))
        if len(rows) >= 2:
            yield rows, columns


def _path(hidden: Array, residuals: Array) -> tuple[Array, Array]:
    """For each of `STRENGTHS` the weights (S, h, d) and shifts (S, d) that give residuals (n, d) from hidden (n, h)."""
    mean, target = hidden.mean(axis=0), residuals.mean(axis=0)
    x = hidden - mean  # (n, h)
    scale = max(float((x**2).sum()) / len(x), np.finfo(float).tiny)
    values, vectors = np.linalg.eigh(x @ x.T / scale)  # (n,), (n, n)
    turned = vectors.T @ (residuals - target)  # (n, d)
    shrunk = turned / (values[:, None] + STRENGTHS[:, None, None])  # (S, n, d)
    weights = np.einsum("hn,snd->shd", x.T @ vectors / scale, shrunk, optimize=True)
    return weights, target - np.einsum("h,shd->sd", mean, weights)


# ---- which clip next -------------------------------------------------------------------------------------------------


def distances(candidates: Array, known: Array) -> Array:
    """How far each of `candidates` (M, h) is from the nearest of `known` (N, h): the clip that is farthest from all
    is the next centre of the greedy k-centre cover (Gonzalez 1985; for labelling, Sener and Savarese, ICLR 2018).

    Without known clips, the distance from the mean of the candidates, with its sign turned: the middle one comes first.
    """
    if not len(known):
        away: Array = -np.linalg.norm(candidates - candidates.mean(axis=0), axis=1)
        return away
    squares = (candidates**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * candidates @ known.T  # (M, N)
    nearest: Array = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return nearest


class Spread:
    """Which of N clips, with the features `hidden` (N, h), is farthest from all that were seen (see `distances`).

    Who has seen one clip more asks next: what was computed for the clips seen before is remembered.
    """

    def __init__(self, hidden: Array) -> None:
        self._hidden = hidden
        self._remembered: list[
            tuple[NDArray[np.bool_], Array]
        ] = []  # seen (N,), distances from those (N,); newest last

    def __len__(self) -> int:
        return len(self._hidden)

    def farthest(self, candidates: NDArray[np.bool_]) -> int:
        """The index of the one of `candidates` (N,), at least one, that is farthest from all others of the N clips; the
        middle one where there are no others."""
        rows, seen = np.flatnonzero(candidates), ~candidates
        if not seen.any():
            return int(rows[distances(self._hidden, self._hidden[:0]).argmax()])
        known, far = np.zeros(len(seen), dtype=bool), np.full(len(seen), np.inf)
        for before, distance in self._remembered:
            if before.sum() > known.sum() and not (before & ~seen).any():
                known, far = before, distance
        if (new := seen & ~known).any():
            far = np.minimum(far, distances(self._hidden, self._hidden[new]))
            self._remembered = [*self._remembered[1 - MAX_REMEMBERED :], (seen, far)]
        return int(rows[far[rows].argmax()])


def disagreement(
    candidates: HeadInputs, known: HeadInputs, labels: Array, groups: Sequence[str], *, seed: int = 0
) -> Array:
    """How far `ENSEMBLE` heads differ about each of `candidates` (M,): the standard deviation of their answers in MOS,
    averaged over the labelled dimensions. Each learns from its own bootstrap sample of the `known` clips
    (query by committee, Seung et al. 1992; by bagging, Abe and Mamitsuka 1998)."""
    rng, columns = np.random.default_rng(seed), ~np.isnan(labels).all(axis=0)
    strengths = choose_strengths(known, labels, groups, seed=seed)
    answers = []
    for _ in range(ENSEMBLE):
        drawn = rng.integers(len(known), size=len(known))
        correction = fit(known[drawn], labels[drawn], groups, strengths=strengths)
        answers.append(correction(candidates)[:, columns])
    spread: Array = np.std(answers, axis=0).mean(axis=1)
    return spread

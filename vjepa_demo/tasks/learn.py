"""A model that learns while a person rates: a small head on frozen features, how well it agrees, which clip is next.

Once the clips are encoded, everything takes milliseconds to seconds, also on a CPU. Each call learns anew from the
ratings it is given, so a rating that is taken back needs no undoing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from vjepa_demo.config import DIMENSIONS, NEUTRAL_PROMPT, TrainConfig
from vjepa_demo.data.hub import Token
from vjepa_demo.files import new_folder, reading, writing
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.model.checkpoint import bring_encoders, find_checkpoint, load_checkpoint, save_checkpoint
from vjepa_demo.model.conformal import margins
from vjepa_demo.model.features import FeatureCache, feature_cache
from vjepa_demo.model.ridge import (
    ALIGNMENT,
    HeadInputs,
    corrected_head,
    cross_validated,
    disagreement,
    distances,
    fit,
    head_inputs,
    joined,
)
from vjepa_demo.model.vjepa import default_device, inference_dtype, on_scale, resolve_device
from vjepa_demo.schema import (
    CheckpointError,
    EncodingReport,
    Evaluation,
    LabelSource,
    RecordError,
    RecordProblem,
    TrainedOn,
    VideoError,
    VideoRecord,
    judging_prompt,
    well_formed,
)
from vjepa_demo.schema.learning import DEFAULT_STRATEGY, MIN_RATED_CLIPS, Learned, Strategy, curve_sizes
from vjepa_demo.tasks.evaluate import label_tensor, metrics_beside_baseline
from vjepa_demo.tasks.frozen import FrozenFeatures, LoadClip
from vjepa_demo.tasks.launch import enough_memory
from vjepa_demo.tasks.words import known_words_after

SEED = 0  # of folds and ensembles: the same ratings give the same numbers


class Learner:
    """What ratings teach the model `name`, a preset or a checkpoint with a trained head. Safe for many threads.

    `encode` the clips first; what the other methods are given and was not encoded is left out by them. A rated clip is
    a `VideoRecord` with labels, in the order in which it was rated.

    Raises:
        ModelError: if there is no such model, its head was never trained, or the memory is too small for it.
        CheckpointError: if the checkpoint is damaged.
    """

    def __init__(
        self,
        name: str = "demo",
        *,
        device: str | None = None,
        token: Token = False,
        cache: FeatureCache | None = None,
        load: LoadClip = load_clip,
    ) -> None:
        self.name = name
        self._base = find_checkpoint(name, token=token)
        self._device = resolve_device(device or default_device())
        self._cache, self._load_clip = cache or feature_cache(), load
        with enough_memory(name):
            self._model = load_checkpoint(self._base, device=self._device, dtype=inference_dtype(self._device))
        # Of one clip each: with its own prompt, and with the neutral one.
        self._known: dict[tuple[Path, str], tuple[HeadInputs, HeadInputs]] = {}
        self._digests: dict[Path, str] = {}  # of the same clips
        self._learned_before = frozenset(self._base.trained_on.digests)
        self._encoding = threading.Lock()

    def knows(self, clip: VideoRecord) -> bool:
        """Whether `clip` was encoded."""
        return (clip.video, clip.prompt_key) in self._known

    def hidden(self, clip: VideoRecord) -> NDArray[np.float64] | None:
        """What "spread" compares of `clip` (1, h), the head's first hidden layer; None where it was not encoded."""
        return self._inputs([clip]).hidden if self.knows(clip) else None

    def encode(self, clips: Sequence[VideoRecord]) -> Iterator[EncodingReport]:
        """Compute what is learned from, or read it from the cache: a report a clip, with the clips that failed so far.

        Closing the iterator ends it; what was encoded stays.

        Raises:
            ModelError: if the memory is too small.
        """
        with self._encoding, enough_memory(self.name):
            features = FrozenFeatures(self._model, TrainConfig(scope="head"), self._load_clip, self._cache)
            neutral_text = self._model.encode_text([NEUTRAL_PROMPT])  # (1, text_dim)
            begin, problems = perf_counter(), []
            try:
                for done, clip in enumerate(clips, start=1):
                    if not self.knows(clip):
                        try:
                            with reading(clip.video, kind=VideoError):
                                features.encode(clip)
                            features.read_prompts([clip])
                            inputs = features.inputs([clip])
                            video = inputs.videos[0][None].to(self._model.device)  # (1, video_dim)
                            own = head_inputs(self._model.head, video, inputs.text)
                            neutral = head_inputs(self._model.head, video, neutral_text)
                            self._digests[clip.video] = features.digest(clip)
                            self._known[clip.video, clip.prompt_key] = own, neutral
                        except VideoError as error:
                            problems.append(RecordProblem(clip.line, str(error)))
                    left = (perf_counter() - begin) / done * (len(clips) - done)
                    yield EncodingReport(done, len(clips), left, 0, tuple(problems))
            finally:
                features.release()

    # ---- how well it agrees ------------------------------------------------------------------------------------------

    def agreement(self, rated: Sequence[VideoRecord], ceiling: Mapping[str, float | None] | None = None) -> Learned:
        """How well the model, once it learned from ratings, agrees with ratings of clips that it had not seen.

        Cross-validated: clips are dealt into ten folds, those of one prompt or one video together, and each is judged
        by a head that learned from the others. A dimension with fewer than `MIN_RATED_CLIPS` ratings is neither learned
        nor judged. Clips that the model as it was had learned from itself do not judge, unless fewer than
        `MIN_RATED_CLIPS` others have ratings in a dimension. `ceiling` is passed on.

        Raises:
            RecordError: if no dimension has ratings of `MIN_RATED_CLIPS` encoded clips.
        """
        rated = self._rated(rated)
        as_it_was = on_scale(torch.from_numpy(joined(self._inputs(rated).outputs_of_looks)))
        after, before = (self._judged(each, rated) for each in (self._held_out_scores(rated), as_it_was))
        return Learned(len(rated), after, before, self._groups(rated)[1], dict(ceiling or {}))

    def curve(
        self, rated: Sequence[VideoRecord], ceiling: Mapping[str, float | None] | None = None
    ) -> Iterator[Learned]:
        """The `agreement` after each of the first `curve_sizes` ratings, the last after all of them; none while
        no dimension has ten.

        A point depends on the ratings until then alone: a curve that was drawn already only gets longer.
        """
        rated = [clip for clip in rated if clip.labels and self.knows(clip)]
        for size in curve_sizes(len(rated)):
            if self._learnable(rated[:size]):
                yield self.agreement(rated[:size], ceiling)

    def scores(self, rated: Sequence[VideoRecord], clips: Sequence[VideoRecord]) -> list[dict[str, float]]:
        """The scores, 1 to 5, that the model gives each of `clips` once it learned from `rated`; those of the model as
        it is in a dimension with fewer than `MIN_RATED_CLIPS` ratings.

        Raises:
            RecordError: if one of `clips` was not encoded.
        """
        if unknown := [clip.name for clip in clips if not self.knows(clip)]:
            raise RecordError(f"{unknown[0]} was not read yet: encode the clips first")
        rated = self._learnable(rated)
        inputs = self._inputs(clips, rated)
        answers = joined(inputs.outputs_of_looks)
        if rated:
            labels = label_tensor(rated).double().numpy()
            answers = fit(self._inputs(rated, rated), labels, self._groups(rated)[0], seed=SEED)(inputs)
        rows = on_scale(torch.from_numpy(answers)).tolist()
        return [dict(zip(DIMENSIONS, row, strict=True)) for row in rows]

    # ---- which clip next ---------------------------------------------------------------------------------------------

    def choose(
        self,
        candidates: Sequence[VideoRecord],
        rated: Sequence[VideoRecord],
        strategy: Strategy = DEFAULT_STRATEGY,
        *,
        seed: int = 0,
    ) -> int:
        """The index of the one of `candidates` whose rating would teach most.

        "random" draws one from `seed`. "spread" takes the clip that is farthest from all rated ones in the head's first
        hidden layer; "disagreement" the one about which heads that learned from different ratings differ most; "both"
        the one with the best sum of the two ranks. Until ten clips are rated, the last two do as "spread" does. Only
        where no candidate is encoded yet it is a random one.

        Raises:
            RecordError: if there is no candidate.
        """
        if not candidates:
            raise RecordError("no clip is left to rate")
        known = [index for index, clip in enumerate(candidates) if self.knows(clip)]
        rng = np.random.default_rng((seed, len(rated)))
        if strategy == "random" or not known:
            return int(rng.integers(len(candidates)))
        shown, learned_from = [clip for clip in rated if self.knows(clip)], self._learnable(rated)
        inputs = self._inputs([candidates[index] for index in known], learned_from)
        far = distances(inputs.hidden, self._inputs(shown, learned_from).hidden if shown else inputs[:0].hidden)
        if strategy == "spread" or not learned_from:
            return known[int(far.argmax())]
        labels = label_tensor(learned_from).double().numpy()
        groups, _ = self._groups(learned_from)
        unsure = disagreement(inputs, self._inputs(learned_from, learned_from), labels, groups, seed=seed + len(rated))
        if strategy == "both":
            return known[int((unsure.argsort().argsort() + far.argsort().argsort()).argmax())]
        return known[int(unsure.argmax())]

    # ---- the model ---------------------------------------------------------------------------------------------------

    def save(
        self,
        rated: Sequence[VideoRecord],
        folder: str | Path,
        *,
        description: str,
        kind: LabelSource = "human",
    ) -> Learned:
        """Write what all of `rated` teach into a checkpoint in the new or empty `folder`, whole or not at all; how well
        it agrees, cross-validated, is in its card and comes back.

        In a dimension where learning brought no gain (`Learned.not_gained`) only the level of the answers is learned:
        they keep the order that the head as it was gives them, from the same prompts. So the SROCC that comes back is
        the better of two, chosen by the same clips, and a little too high where both are close.

        Raises:
            RecordError: if no dimension has ratings of `MIN_RATED_CLIPS` encoded clips.
            FolderError: if `folder` holds anything already.
            CheckpointError: if it cannot be written.
        """
        rated = self._rated(rated)
        learned = self.agreement(rated)
        digests = {self._digests[clip.video] for clip in rated}
        labels, inputs = label_tensor(rated), self._inputs(rated, rated)
        as_it_was = self._judged(on_scale(torch.from_numpy(inputs.outputs)), rated)
        level_only = [DIMENSIONS.index(name) for name in replace(learned, before=as_it_was).not_gained]
        groups, _ = self._groups(rated)
        correction = fit(inputs, labels.double().numpy(), groups, seed=SEED, level_only=level_only)
        held_out = self._held_out_scores(rated, level_only)
        labels[torch.from_numpy(self._has_learned(rated))] = (
            torch.nan
        )  # residuals of clips that the model knew would make intervals narrow
        half_widths = margins(held_out, labels)
        # The folds shift a level each by its own amount, which would look as if the order had changed.
        held_out[:, level_only] = on_scale(torch.from_numpy(correction(inputs)))[:, level_only]
        learned = replace(learned, after=self._judged(held_out, rated))
        # Encoders that nobody changed are shared with the model that encodes; changed weights are saved, so in float32.
        only_head = all(name.startswith("head.") for name in self._model.changed)
        dtype = self._model.dtype if only_head else torch.float32
        with enough_memory(self.name):
            model = load_checkpoint(self._base, device=self._device, dtype=dtype)
        model.head, width = corrected_head(model.head, correction)
        folder = Path(folder)
        advice = "choose another folder, or make room there"
        with writing(folder, advice=advice, kind=CheckpointError), new_folder(folder) as partial:
            bring_encoders(self._base, partial)
            save_checkpoint(
                model,
                partial,
                trained_on=self._trained_on(rated, digests, learned, half_widths, description, kind),
                model_config=replace(self._base.model, head_hidden=width),
            )
        return learned

    def _trained_on(
        self,
        rated: Sequence[VideoRecord],
        digests: set[str],
        result: Learned,
        half_widths: tuple[dict[str, float], dict[str, int]],
        description: str,
        kind: LabelSource,
    ) -> TrainedOn:
        """What the checkpoint says of itself. Each clip was held out once."""
        before, after = self._base.trained_on, result.after
        baseline = after.no_video_baseline
        sroccs = {name: metrics.srocc.value for name, metrics in after.dimensions.items()}
        return TrainedOn(
            kind=kind,
            num_clips=len(rated),
            description=well_formed(description),
            srocc={name: value for name, value in sroccs.items() if value is not None},
            num_held_out=after.n,
            num_shared_prompts=0 if result.by_prompt else after.n,
            dimensions=tuple(after.dimensions),
            vquala_score=after.vquala_score.value,
            no_video_baseline=None if baseline is None else baseline.vquala_score.value,
            digests=tuple(sorted({*before.digests, *digests})),
            known_words=self._known_words(rated),
            lead=after.lead.value,
            lead_standard_error=after.lead.standard_error,
            # The residuals are of heads that learned from a tenth less: intervals are too wide rather than too narrow.
            margins=half_widths[0],
            num_margin_clips=half_widths[1],
            recipe=f"Ridge regression around the head of {self.name}; every clip was held out in one of ten folds. In "
            "each dimension the order of the learned head or of the head as it was is kept, whichever agrees better "
            "with these same clips: the SROCC is a little too high where the two are close."
            + _flattered(after, self.name),
        )

    def _rated(self, rated: Sequence[VideoRecord]) -> list[VideoRecord]:
        """What can be learned from `rated`, see `agreement` for what is raised."""
        usable = self._learnable(rated)
        if not usable:
            counts = Counter(name for clip in rated if self.knows(clip) for name in clip.labels)
            raise RecordError(
                f"{max(counts.values(), default=0)} clips are rated in one dimension and can be read; the model learns "
                f"from {MIN_RATED_CLIPS} on: rate more clips"
            )
        return usable

    def _learnable(self, rated: Sequence[VideoRecord]) -> list[VideoRecord]:
        """The clips of `rated` that were encoded, with the labels of the dimensions that have enough of them."""
        known = [clip for clip in rated if self.knows(clip)]
        counts = Counter(name for clip in known for name in clip.labels)
        kept = [
            {name: label for name, label in clip.labels.items() if counts[name] >= MIN_RATED_CLIPS} for clip in known
        ]
        return [replace(clip, labels=labels) for clip, labels in zip(known, kept, strict=True) if labels]

    def _held_out_scores(self, rated: Sequence[VideoRecord], level_only: Sequence[int] = ()) -> torch.Tensor:
        """The scores (N, 5) of each of `rated` by a head that learned from clips of other prompts."""
        groups, _ = self._groups(rated)
        labels = label_tensor(rated).double().numpy()
        scores = cross_validated(self._inputs(rated, rated), labels, groups, seed=SEED, level_only=level_only)
        return on_scale(torch.from_numpy(scores))

    def _has_learned(self, clips: Sequence[VideoRecord]) -> NDArray[np.bool_]:
        """Whether the model as it was had learned from each of `clips` (N,) itself."""
        return np.array([self._digests[clip.video] in self._learned_before for clip in clips])

    def _judged(self, scores: torch.Tensor, rated: Sequence[VideoRecord]) -> Evaluation:
        """How well `scores` (N, 5) of `rated` agree with their labels; see `agreement` for the clips that judge."""
        learned, has_label = self._has_learned(rated), ~label_tensor(rated).isnan().numpy()
        num_others = has_label[~learned].sum(axis=0)[has_label.any(axis=0)]
        left_out = learned & bool((num_others >= MIN_RATED_CLIPS).all())
        judging, others = ([rated[row] for row in np.flatnonzero(rows).tolist()] for rows in (~left_out, left_out))
        evaluation = metrics_beside_baseline(scores[torch.from_numpy(~left_out)], judging, others)
        return replace(evaluation, num_learned=int(learned.sum()), num_left_out=int(left_out.sum()))

    def _groups(self, clips: Sequence[VideoRecord]) -> tuple[list[str], bool]:
        """What stays together in folds, and whether that keeps all prompts whole.

        Clips that share a prompt or a video (its content) stay together, also through other clips. Where that is all of
        them, only those of one video do; where there is one video only, each clip is on its own.
        """
        prompts, digests = [clip.prompt_key for clip in clips], [self._digests[clip.video] for clip in clips]
        group_of: dict[str, str] = {}  # of each prompt: another of its group, or itself
        prompt_of: dict[str, str] = {}  # of each video: the first

        def root(prompt: str) -> str:
            while (other := group_of.setdefault(prompt, prompt)) != prompt:
                group_of[prompt] = prompt = group_of[other]
            return prompt

        for prompt, digest in zip(prompts, digests, strict=True):
            group_of[root(prompt)] = root(prompt_of.setdefault(digest, prompt))
        groups = [root(prompt) for prompt in prompts]
        if len(set(groups)) > 1:
            return groups, True
        return (digests if len(set(digests)) > 1 else [str(index) for index in range(len(clips))]), False

    def _known_words(self, rated: Sequence[VideoRecord]) -> tuple[str, ...]:
        """Those of a model that learned from `rated`; none where it knows English."""
        return known_words_after(self._base.trained_on.known_words, (clip.prompt for clip in rated))

    def _inputs(self, clips: Sequence[VideoRecord], rated: Sequence[VideoRecord] = ()) -> HeadInputs:
        """What the head makes of `clips`, with the prompts that a model which learned from `rated` judges them with. In
        cross-validation too: the words of a held-out fold count as known, as they do once the model is saved."""
        known_words = frozenset(self._known_words(rated))
        known = [self._known[clip.video, clip.prompt_key] for clip in clips]
        own = HeadInputs(
            np.concatenate([each.hidden_of_looks for each, _ in known]),
            np.concatenate([each.outputs_of_looks for each, _ in known]),
        )
        is_read = np.array([judging_prompt(clip.prompt, known_words) == clip.prompt for clip in clips])
        if is_read.all():
            return own
        judged = [(read if is_own else neutral) for (read, neutral), is_own in zip(known, is_read, strict=True)]
        outputs = np.concatenate([each.outputs_of_looks for each in judged])
        outputs[..., ALIGNMENT] = own.outputs_of_looks[..., ALIGNMENT]
        hidden = np.concatenate([each.hidden_of_looks for each in judged])
        return HeadInputs(hidden, outputs, own.hidden_of_looks)


def _flattered(after: Evaluation, name: str) -> str:
    """A sentence for the card where clips that the model `name` had learned from judge, else nothing."""
    if after.num_learned == after.num_left_out:
        return ""
    return f" {name} had learned from {after.num_learned:,} of these clips before, so these numbers flatter the model."

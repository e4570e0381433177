"""Fine-tuning on labelled clips: a generator of reports that the command line, the page and the API consume.

Everything below the freeze line is a constant of a clip: it is computed once, kept, and each epoch runs only what
learns. An epoch's order and dropout are drawn from the seed and the epoch's number alone, so that a run that was
killed and resumed ends like one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast, gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vjepa_demo.config import CHECKPOINT_CONFIG_FILE, DIMENSIONS, Scope, TrainConfig
from vjepa_demo.data.hub import Token
from vjepa_demo.data.split import split_records
from vjepa_demo.files import delete_partials, exists, only_process, writing
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.model.checkpoint import CHECKPOINT_FILES, Checkpoint, bring_encoders, load_base, save_checkpoint
from vjepa_demo.model.conformal import cross_fitted, margins
from vjepa_demo.model.features import FeatureCache, feature_cache
from vjepa_demo.model.layers import BeforeLayer
from vjepa_demo.model.losses import level_loss, mos_loss, pair_loss
from vjepa_demo.model.metrics import evaluate
from vjepa_demo.model.randomness import seeded
from vjepa_demo.model.vjepa import VJEPAModel, inference_dtype, on_scale
from vjepa_demo.schema import (
    CheckpointError,
    EncodingReport,
    EpochReport,
    Evaluation,
    LabelSource,
    PairRecord,
    RecordError,
    RecordProblem,
    RecordSet,
    SplitReport,
    StartReport,
    StoppedError,
    TrainedOn,
    TrainingData,
    TrainingReport,
    TrainingResult,
    VideoError,
    VideoRecord,
    clips_of,
    well_formed,
)
from vjepa_demo.tasks.evaluate import label_tensor, metrics_beside_baseline
from vjepa_demo.tasks.frozen import FrozenFeatures, Inputs, LoadClip
from vjepa_demo.tasks.launch import enough_memory, from_main_process, training_device
from vjepa_demo.tasks.pairs import (
    answer_tensor,
    differences,
    judge_pairs,
    middles,
    pair_thresholds,
    pairs_learned,
    tie_shares,
)
from vjepa_demo.tasks.run_state import WORK_FOLDER, RunState
from vjepa_demo.tasks.words import known_words_after

MIN_TRAINING_CLIPS = 2
MIN_JUDGED_CLIPS = 3  # a rank correlation of two clips says nothing
TOO_LARGE: dict[Scope, str] = {
    "head": "choose a smaller model",
    "top": "train the head alone (scope head), let the text encoder be, or choose a smaller model",
}
# What the layers that train keep of a batch for the backward pass. A larger batch goes through them in parts, twice.
ACTIVATION_BYTES = 2**30
TOKEN_BYTES = 65  # that a layer keeps a token and hidden unit: 64 to 67 in float32, 40 with products in bfloat16


def fine_tune(
    name: str,
    records: RecordSet,
    config: TrainConfig,
    folder: str | Path,
    *,
    description: str,
    kind: LabelSource = "undeclared",
    device: str | None = None,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    token: Token = False,
) -> Iterator[TrainingReport]:
    """Split `records`, and `train` the model `name`, a preset or a checkpoint, into a checkpoint in `folder`.

    Yields a `SplitReport`, then what `train` yields. The checkpoint needs nothing else to be loaded. A preset whose
    head was never trained starts with a new one. `description` is what a person would call the data set, `kind` who
    gave its labels, `token` says who may read `name` on the Hub.

    Raises:
        RecordError: if too few clips are left, or `folder` holds a checkpoint already.
        ModelError: if the model cannot be loaded, or the memory is too small for it.
        CheckpointError: if the checkpoint to start from is damaged.
    """
    folder = Path(folder)
    data, split = split_for_training(records, config, description=description, kind=kind)
    yield split
    if exists(folder / CHECKPOINT_CONFIG_FILE) and not exists(folder / WORK_FOLDER):
        raise RecordError(f"{folder} holds a checkpoint already: train into another folder, or delete it first")
    with enough_memory(name, TOO_LARGE[config.scope]):
        model, base = load_base(name, device=device or training_device(), token=token, seed=config.seed)
        if base is not None:
            data = replace(data, known_words=base.trained_on.known_words)
        elif missing := [each for each in DIMENSIONS if not any(each in record.labels for record in data.train)]:
            # A new head answers five times: what no label taught it would be noise that looks like a score. Pairs teach
            # it which clip is better, but not how good one is.
            but_pairs = " (pairs do not say how good a clip is)" if data.train_pairs else ""
            raise RecordError(
                f"{name} has no trained head yet, and there is no label for {', '.join(missing)}{but_pairs}: label all "
                f"five dimensions, train its first head (train --bootstrap --model {name}), or start from demo"
            )
        yield from train(
            model, data, config, folder, base=base, resume=resume, should_stop=should_stop, cache=feature_cache()
        )


def split_for_training(
    records: RecordSet, config: TrainConfig, *, description: str, kind: LabelSource
) -> tuple[TrainingData, SplitReport]:
    """`records` as clips and pairs to learn from and to validate with, split as `config` says, and a report on that.

    Raises:
        RecordError: if nothing is left to learn from.
    """
    split = split_records(
        records.records, records.pairs, validation_fraction=config.validation_fraction, seed=config.seed
    )
    data = TrainingData(
        train=split.train,
        validation=split.validation,
        description=well_formed(description),
        kind=kind,
        label_range=(records.label_range.low, records.label_range.high),
        train_pairs=split.train_pairs,
        validation_pairs=split.validation_pairs,
    )
    return data, SplitReport(
        len(split.train), len(split.validation), split.warnings, len(split.train_pairs), len(split.validation_pairs)
    )


def train(
    model: VJEPAModel,
    data: TrainingData,
    config: TrainConfig,
    folder: str | Path,
    *,
    base: Checkpoint | None = None,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    load: LoadClip = load_clip,
    cache: FeatureCache | None = None,
) -> Iterator[TrainingReport]:
    """Fine-tune `model` (float32, and only this run's) on `data`; write the best weights to `folder`.

    Yields an `EncodingReport` a clip, for a model with a trained head a `StartReport`, an `EpochReport` an epoch, and
    last the `TrainingResult`. `should_stop` is asked while clips are decoded, by other threads, and before each clip,
    layer of a clip, and step: once it says yes, the run ends with the best weights so far. Closing the generator
    abandons the run. After each epoch its state is on disk, whole: with `resume` a killed run goes on from there. Under
    `accelerate launch` every process calls this alike.

    `base` is the checkpoint that `model` was loaded from, None where its head is new: a run is resumed only on the same
    weights, and the new checkpoint remembers the clips of the old one beside its own. What the frozen part makes of
    the clips is kept in `cache`, by default one in memory; what does not fit there is computed anew each epoch.

    Raises:
        RecordError: if fewer than two clips are left to learn from, the run to resume was another one, or the loss is
            no longer a number.
        StoppedError: if it was stopped before anything was learned.
        CheckpointError: if there is no run to resume, or `folder` cannot be written.
        BusyError: if another run trains into `folder` now.
    """
    folder, features = Path(folder), FrozenFeatures(model, config, load, cache or FeatureCache())
    with ExitStack() as stack:
        stack.enter_context(writing(folder, advice="choose another folder, or make room there", kind=CheckpointError))
        stack.callback(features.release)
        run = _Run(model, data, config, folder, base, features, should_stop)
        from_main_process(lambda: stack.enter_context(_claimed(folder)))
        run.begin(resume=resume)
        yield from run.encode()
        run.prepare()
        if base is not None and not run.state.epoch:
            yield from run.start()
        yield from run.epochs()
        result = run.finish()
    yield result  # the folder is the caller's by now


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"another run trains into {folder} now: wait until it ends, stop it, or train into another folder"
    with only_process(folder / ".lock", busy=busy):
        for name in CHECKPOINT_FILES:
            delete_partials(folder / name)
        yield


class _AskedToStopError(StoppedError):
    """`should_stop` said yes. What it raises itself, such as of a visitor who has left, is another error."""


class _Learner:
    """What learns: the head on pooled features, and with scope `top` the layers that make those.

    A batch whose activations would not fit into `ACTIVATION_BYTES` goes through the layers in parts: first without
    gradients, for the loss needs the scores of all clips; then part by part again, with the gradient of the loss by the
    part's pooled features (gradient caching: Gao et al., RepL4NLP 2021). Only one part's activations are held.
    """

    def __init__(self, model: VJEPAModel, config: TrainConfig) -> None:
        self.model = model
        self._top, self._train_text = config.scope == "top", config.train_text
        layers = len(model.venc.layer) - model.num_frozen_layers
        bytes_of_clip = TOKEN_BYTES * sum(model.tokens_of_views) * model.venc.config.hidden_size * layers
        self._clips_at_once = max(1, ACTIVATION_BYTES // max(1, bytes_of_clip))

    @torch.no_grad()
    def scores(self, inputs: Inputs) -> Tensor:
        """Scores (B, 5), not cut to the scale."""
        pooled = torch.cat([self._pool(part) for part in self._parts(inputs)])
        return self._score(pooled, inputs)

    def learn(self, inputs: Inputs, loss: Callable[[Tensor], Tensor], *seed: int, share: float) -> Tensor:
        """Add `share` of the gradients of `loss`, of the scores (B, 5), to the parameters that train; returns the loss.
        All that is drawn depends on `seed` alone."""
        parts = self._parts(inputs)
        with torch.set_grad_enabled(len(parts) == 1):
            pooled = torch.cat([self._drawn_pool(part, *seed, index) for index, part in enumerate(parts)])
        if len(parts) > 1:
            pooled.requires_grad_()
        with seeded(*seed):
            scores = self._score(pooled, inputs)
        result = loss(scores)
        (share * result).backward()
        if len(parts) > 1:
            assert pooled.grad is not None
            gradients = pooled.grad.split([len(part) for part in parts])
            for index, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
                self._drawn_pool(part, *seed, index).backward(gradient)
        return result.detach()

    def _parts(self, inputs: Inputs) -> list[Sequence[Tensor]]:
        """The videos of `inputs`, as many together as go through what learns at once."""
        size = self._clips_at_once if self._top else len(inputs.videos)
        return [inputs.videos[start : start + size] for start in range(0, len(inputs.videos), size)]

    def _drawn_pool(self, videos: Sequence[Tensor], *seed: int) -> Tensor:
        with seeded(*seed):  # layers of an encoder that drops paths drop the same ones both times
            return self._pool(videos)

    def _pool(self, videos: Sequence[Tensor]) -> Tensor:
        """Pooled features (B, video_dim), (B, looks, video_dim) of several looks."""
        video = torch.stack([each.to(self.model.device).float() for each in videos])
        return self.model.encode_tail(video) if self._top else video

    def _score(self, pooled: Tensor, inputs: Inputs) -> Tensor:
        is_read = inputs.judging_prompts == inputs.prompts
        own, text = inputs.text, inputs.judging_text
        if self._train_text:
            own = self.model.embed_text(inputs.prompts)
            text = own if is_read else self.model.embed_text(inputs.judging_prompts)
        return self.model.predict_with_features(pooled, text, None if is_read else own)


class _Run:
    """One training run: its data, what learns, and how far it is."""

    def __init__(
        self,
        model: VJEPAModel,
        data: TrainingData,
        config: TrainConfig,
        folder: Path,
        base: Checkpoint | None,
        features: FrozenFeatures,
        should_stop: Callable[[], bool],
    ) -> None:
        self.data, self.config, self.folder, self.base, self.features = data, config, folder, base, features
        self.should_stop = should_stop
        self.model_config = model.config if base is None else base.model  # where the checkpoint finds its encoders
        self.accelerator = Accelerator(
            cpu=model.device.type == "cpu",
            dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=config.seed),
        )
        model.set_trainable(top_layers=config.scope == "top", text=config.train_text)
        model.multiply_in(inference_dtype(model.device))
        self.model = model
        self.train, self.validation = list(data.train), list(data.validation)
        self.train_pairs, self.validation_pairs = list(data.train_pairs), list(data.validation_pairs)
        self.state = RunState(folder, model, self.accelerator)

    def begin(self, *, resume: bool) -> None:
        """Make the run's folder, or find the run there that is resumed: of the same model, settings and labels."""
        rows: list[Any] = [
            (each.name, each.prompt, sorted(each.labels.items())) for each in (*self.train, *self.validation)
        ]
        if self.train_pairs or self.validation_pairs:
            pairs = [*self.train_pairs, *self.validation_pairs]
            rows += [len(self.train_pairs), [(p.a.name, p.b.name, p.prompt, sorted(p.answers.items())) for p in pairs]]
        model = [self.model_config.to_dict(), self.base and self.base.weights_sha256]
        text = json.dumps([model, asdict(self.config), len(self.train), rows])
        self.state.begin(hashlib.sha256(text.encode()).hexdigest(), resume=resume)

    # ---- the frozen part, once a clip --------------------------------------------------------------------------------

    def encode(self) -> Iterator[EncodingReport]:
        """Each process its share of the clips; rows that fail are left out everywhere, and told."""
        pairs = [*self.train_pairs, *self.validation_pairs]
        records = clips_of([*self.train, *self.validation], pairs)
        mine = records[self.accelerator.process_index :: self.accelerator.num_processes]
        problems: dict[RecordProblem, Path] = {}  # each with the video that it is about
        recomputed, begin = 0, time.perf_counter()
        with closing(self.features.decode_ahead(mine, check=self._check)) as decoded:
            for done, (record, clip) in enumerate(decoded, start=1):
                self._check()
                try:
                    recomputed += not self.features.encode(record, clip.result(), before_layer=self._check)
                except VideoError as error:
                    lines = [pair.line for pair in pairs if record.video in (pair.a.video, pair.b.video)]
                    problems |= {RecordProblem(line, str(error)): record.video for line in (record.line, *lines)}
                left = (time.perf_counter() - begin) / done * (len(mine) - done)
                yield EncodingReport(done, len(mine), left, recomputed, tuple(problems))
        bad = set(gather_object(list(problems.values())))
        self.train, self.validation = (
            [record for record in part if record.video not in bad] for part in (self.train, self.validation)
        )
        self.train_pairs, self.validation_pairs = (
            [pair for pair in part if not {pair.a.video, pair.b.video} & bad]
            for part in (self.train_pairs, self.validation_pairs)
        )
        if (num_clips := len(clips_of(self.train, self.train_pairs))) < MIN_TRAINING_CLIPS:
            raise RecordError(
                f"{num_clips} clips are left to learn from, {MIN_TRAINING_CLIPS} at least are needed: "
                "mend the rows with problems or add clips"
            )
        self.judged = clips_of(self.validation, self.validation_pairs)
        self.tie_shares = tie_shares(self.train_pairs)
        learned = clips_of(self.train, self.train_pairs)
        self.known_words = known_words_after(self.data.known_words, (clip.prompt for clip in learned))
        self.features.read_prompts([*learned, *self.judged], self.known_words)

    def _check(self) -> None:
        """
        Raises:
            _AskedToStopError: if the run should stop.
        """
        if self.should_stop():
            raise _AskedToStopError("stopped while the clips were read: nothing was learned, nothing was saved")

    # ---- what learns -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Learner, optimizer and batches; and the state of the last whole epoch, where there was one."""
        groups = [group for group in self.model.get_discriminative_params(self.config.learning_rate) if group["params"]]
        optimizer = torch.optim.AdamW(groups, weight_decay=self.config.weight_decay)
        self.learner = _Learner(self.model, self.config)
        if self.train_pairs:
            self._hold_levels()
        self.state.restore(optimizer)
        with torch.no_grad():  # all processes begin with the same weights, and change them alike
            for parameter in self._learning(optimizer) if self.accelerator.num_processes > 1 else ():
                parameter.copy_(broadcast(parameter.detach().clone()))
        rows: Any = range(
            len(self.train) + len(self.train_pairs)
        )  # indexable and sized: all that a DataLoader asks of a data set
        generator = torch.Generator()  # its own: from torch's, other threads draw too
        indices = DataLoader(rows, batch_size=self.config.batch_size, shuffle=True, generator=generator)
        self.optimizer, self.batches = optimizer, self.accelerator.prepare(indices)
        self.rates = [group["lr"] for group in groups]

    def _hold_levels(self) -> None:
        """Keep the level (see `level_loss`) of each training pair (P, 5), as the model has it before it learns; NaN in
        a dimension that has labels, and where the pair has no answer."""
        clips = clips_of((), self.train_pairs)
        labelled = ~label_tensor(self.train).isnan().all(dim=0)  # (5,)
        levels = middles(self.train_pairs, clips, on_scale(self._outputs(clips)))
        self.levels = levels.masked_fill(labelled | answer_tensor(self.train_pairs).isnan(), math.nan)

    def start(self) -> Iterator[StartReport]:
        """How good the model is before it learns, with the words that it knows now, where that can be judged."""
        outputs = self._outputs(self.judged, known_words=frozenset(self.data.known_words))
        loss, evaluation = self._judge(outputs, range(len(self.validation)), self.validation_pairs)
        if loss is not None and evaluation is not None:
            self.state.start = outputs
            yield StartReport(loss, evaluation)

    def epochs(self) -> Iterator[EpochReport]:
        """An epoch after another, until all are done, nothing gets better, or the run should stop."""
        with suppress(_AskedToStopError):  # the best whole epoch stays
            yield from self._epochs()

    def _epochs(self) -> Iterator[EpochReport]:
        """
        Raises:
            _AskedToStopError: if the run should stop.
        """
        config, state, accelerator = self.config, self.state, self.accelerator
        steps_per_epoch = math.ceil(len(self.batches) / config.accumulate)
        while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
            epoch, begin, losses = state.epoch + 1, time.perf_counter(), []
            self.batches.set_epoch(epoch)  # the order of the clips
            self.model.train()
            batches = [rows.tolist() for rows in self.batches]
            clips = (clips_of(*self._at(rows)) for rows in batches)
            with closing(self.features.read_ahead(clips, before_layer=self._check)) as inputs:
                for index, (rows, given) in enumerate(zip(batches, inputs, strict=True)):
                    self._check()
                    step = state.epoch * steps_per_epoch + index // config.accumulate
                    for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                        group["lr"] = rate * schedule(step, config.epochs * steps_per_epoch, config.warmup_share)
                    # Dropout depends on seed, epoch and step alone: a resumed run draws what a whole one would.
                    losses.append(self._learn(rows, given, config.seed, epoch, index))
                    if (index + 1) % config.accumulate == 0 or index + 1 == len(batches):
                        self._step()
            mean = float(accelerator.reduce(torch.stack(losses).mean(), reduction="mean"))
            if not math.isfinite(mean):
                raise RecordError(f"the loss of epoch {epoch} is {mean}: lower the learning rate and train again")
            outputs = self._outputs(self.judged, before_layer=self._check)
            every = range(len(self.validation))
            validation_loss, evaluation = self._judge(outputs, every, self.validation_pairs)
            rating = self._rating(epoch, validation_loss, evaluation, every)
            is_best = state.end_epoch(rating, self.optimizer, outputs)
            seconds = time.perf_counter() - begin
            yield EpochReport(
                epoch=epoch,
                epochs=config.epochs,
                loss=mean,
                validation_loss=validation_loss,
                validation=evaluation,
                is_best=is_best,
                seconds=seconds,
                seconds_left=seconds * (config.epochs - epoch),
            )

    def _at(self, rows: Sequence[int]) -> tuple[list[VideoRecord], list[PairRecord]]:
        """The labelled clips and the pairs at `rows`: the pairs stand behind the clips."""
        count = len(self.train)
        records = [self.train[row] for row in rows if row < count]
        return records, [self.train_pairs[row - count] for row in rows if row >= count]

    def _learn(self, rows: Sequence[int], inputs: Inputs, *seed: int) -> Tensor:
        """Add the gradients of the labels and pairs at `rows`, whose clips have these `inputs`; returns the loss."""
        records, pairs = self._at(rows)
        clips = clips_of(records, pairs)
        places = [row - len(self.train) for row in rows if row >= len(self.train)]

        def loss(outputs: Tensor) -> Tensor:
            both = self._loss(outputs[: len(records)], records, differences(pairs, clips, outputs), pairs)
            if not pairs:
                return both
            return both + len(pairs) / len(rows) * level_loss(middles(pairs, clips, outputs), self.levels[places])

        return self.learner.learn(inputs, loss, *seed, share=1 / self.config.accumulate)

    @staticmethod
    def _learning(optimizer: torch.optim.Optimizer) -> list[Tensor]:
        """The parameters that train, in the same order in all processes."""
        return [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def _step(self) -> None:
        """Change the weights by the gradients that were added up, in the mean of all processes."""
        learning = self._learning(self.optimizer)
        for parameter in learning if self.accelerator.num_processes > 1 else ():
            parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")
        nn.utils.clip_grad_norm_(learning, self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    # ---- how well it does --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _outputs(
        self,
        clips: Sequence[VideoRecord],
        *,
        known_words: Collection[str] | None = None,
        before_layer: BeforeLayer | None = None,
    ) -> Tensor:
        """What the head answers for `clips` (N, 5), on the CPU and not cut to the scale; each process computes its
        share. `known_words` and `before_layer` are as for `FrozenFeatures.inputs`."""
        self.model.eval()
        count, mine = self.accelerator.num_processes, [torch.empty(0, len(DIMENSIONS))]
        own = clips[self.accelerator.process_index :: count]
        for start in range(0, len(own), self.config.batch_size):
            batch = own[start : start + self.config.batch_size]
            inputs = self.features.inputs(batch, known_words=known_words, before_layer=before_layer)
            mine.append(self.learner.scores(inputs).cpu())
        outputs = torch.empty(len(clips), len(DIMENSIONS))
        for index, part in enumerate(gather_object([torch.cat(mine)])):
            outputs[index::count] = part
        return outputs

    def _loss(
        self, outputs: Tensor, records: Sequence[VideoRecord], apart: Tensor, pairs: Sequence[PairRecord]
    ) -> Tensor:
        """The loss of `outputs` (B, 5) for `records` and of `apart` (P, 5) for `pairs`: the mean of both, in which
        a record weighs as much as a pair."""
        loss, count = outputs.new_zeros(()), len(records) + len(pairs)
        if records:
            loss = loss + len(records) / count * mos_loss(outputs, label_tensor(records).to(outputs.device))
        if pairs:
            loss = loss + len(pairs) / count * pair_loss(apart, answer_tensor(pairs), self.tie_shares)
        return loss

    @torch.no_grad()
    def _judge(
        self, outputs: Tensor, rows: Sequence[int], pairs: Sequence[PairRecord]
    ) -> tuple[float | None, Evaluation | None]:
        """The loss and the metrics of `outputs` (M, 5) of `self.judged`, for the validation clips at `rows` and for
        `pairs`; None where there are none."""
        if not rows and not pairs:
            return None, None
        records, scores = [self.validation[row] for row in rows], on_scale(outputs)
        own = list(rows)
        loss = self._loss(outputs[own], records, differences(pairs, self.judged, outputs), pairs)
        evaluation = evaluate(scores[own], label_tensor(records), num_resamples=0)
        if pairs:
            evaluation = replace(evaluation, pairs=judge_pairs(pairs, self.judged, scores, with_errors=False))
        return float(loss), evaluation

    def _rating(self, epoch: int, loss: float | None, evaluation: Evaluation | None, rows: Sequence[int]) -> float:
        """How good `epoch` is among the others, by what `_judge` says for the validation clips at `rows`.

        That is the VQualA score; of pairs the share of better clips that are told, less the share of those that are not
        (the mean of the dimensions); and where there are both, the mean of the two. The loss decides where no labels
        can be ranked, and the last epoch is kept where none can be judged.
        """
        if loss is None or evaluation is None:
            return float(epoch)
        ratings = []
        records = [self.validation[row] for row in rows]
        labels = ([record.labels[name] for record in records if name in record.labels] for name in DIMENSIONS)
        if any(len(values) >= MIN_JUDGED_CLIPS and len(set(values)) > 1 for values in labels):
            ratings.append(-1.0 if evaluation.vquala_score.value is None else evaluation.vquala_score.value)
        if evaluation.pairs is not None and (told := evaluation.pairs.share_told) is not None:
            ratings.append(2 * told - 1)
        return sum(ratings) / len(ratings) if ratings else -loss

    def _margins(self) -> tuple[dict[str, float], dict[str, int]]:
        """What `margins` gives for the validation clips, of scores after an epoch that other clips chose."""
        records = self.validation
        scores = [on_scale(outputs[: len(records)]) for outputs in self.state.outputs]
        if len(scores) < self.state.epoch:  # an older version of this program began the run
            return {}, {}

        def rate(index: int, rows: Sequence[int]) -> float:
            left_out = {record.prompt_key for record in records} - {records[row].prompt_key for row in rows}
            pairs = [pair for pair in self.validation_pairs if pair.prompt_key not in left_out]
            return self._rating(index + 1, *self._judge(self.state.outputs[index], rows, pairs), rows)

        prompts = [record.prompt for record in records]
        return margins(cross_fitted(scores, prompts, rate), label_tensor(records))

    def finish(self) -> TrainingResult:
        """The best weights in a checkpoint, with their metrics, standard errors and the no-video baseline.

        Raises:
            StoppedError: if not a single epoch was completed.
        """
        self.state.load_best()
        scores = on_scale(self._outputs(self.judged))  # judged as they will be shown
        predictions = scores[: len(self.validation)]
        learned = clips_of((), self.train_pairs)
        thresholds = pair_thresholds(self.train_pairs, learned, on_scale(self._outputs(learned)))
        evaluation = self._evaluation(scores, thresholds) if self.judged else None
        if self.accelerator.is_main_process:
            if self.base is not None:
                bring_encoders(self.base, self.folder)
            save_checkpoint(
                self.model,
                self.folder,
                trained_on=self._trained_on(evaluation, thresholds),
                model_config=self.model_config,
                label_range=self.data.label_range,
            )
            self.state.remove()
        self.accelerator.wait_for_everyone()
        return TrainingResult(
            folder=self.folder,
            epochs=self.state.epoch,
            best_epoch=self.state.best_epoch,
            evaluation=evaluation,
            validation=tuple(self.validation),
            labels=tuple(map(tuple, label_tensor(self.validation).tolist())),
            predictions=tuple(map(tuple, predictions.tolist())),
        )

    def _evaluation(self, scores: Tensor, thresholds: Mapping[str, float]) -> Evaluation:
        """How well `scores` (M, 5) of `self.judged` agree with labels and pairs, and what training changed."""
        count, start = len(self.validation), self.state.start
        before = None if start is None else on_scale(start)
        evaluation = metrics_beside_baseline(
            scores[:count], self.validation, self.train, before=None if before is None else before[:count]
        )
        if not self.validation_pairs:
            return evaluation
        judged = judge_pairs(self.validation_pairs, self.judged, scores, thresholds=thresholds)
        evaluation = replace(evaluation, pairs=judged)
        if before is None or evaluation.gain is None:
            return evaluation
        pairs_before = judge_pairs(self.validation_pairs, self.judged, before)
        gain = replace(evaluation.gain, before=replace(evaluation.gain.before, pairs=pairs_before))
        return replace(evaluation, gain=gain)

    def _trained_on(self, evaluation: Evaluation | None, tie_thresholds: dict[str, float]) -> TrainedOn:
        measured = evaluation.to_dict() if evaluation is not None else {}
        sroccs = {name: metrics["srocc"] for name, metrics in measured.get("dimensions", {}).items()}
        learned = clips_of(self.train, self.train_pairs)
        prompts = {record.prompt_key for record in learned}
        given: list[Iterable[str]] = [
            *(each.labels for each in self.train),
            *(each.answers for each in self.train_pairs),
        ]
        named = set(chain.from_iterable(given))
        learned_before = () if self.base is None else self.base.trained_on.digests
        half_widths, num_margin_clips = self._margins()
        return TrainedOn(
            kind=self.data.kind,
            num_clips=len(self.train),
            description=self.data.description,
            srocc={name: value for name, value in sroccs.items() if value is not None},
            num_held_out=len(self.validation),
            margins=half_widths,
            num_margin_clips=num_margin_clips,
            num_shared_prompts=sum(record.prompt_key in prompts for record in self.validation),
            dimensions=tuple(name for name in DIMENSIONS if name in named),
            vquala_score=measured.get("vquala_score"),
            no_video_baseline=measured.get("no_video_baseline"),
            digests=tuple(sorted({*learned_before, *map(self.features.digest, learned)})),
            known_words=self.known_words,
            lead=None if evaluation is None else evaluation.lead.value,
            lead_standard_error=None if evaluation is None else evaluation.lead.standard_error,
            pairs=pairs_learned(
                len(self.train_pairs), tie_thresholds, None if evaluation is None else evaluation.pairs
            ),
        )


def schedule(step: int, num_steps: int, warmup_share: float) -> float:
    """Factor of the learning rate at `step` of `num_steps`: linear warm-up from above 0, then half a cosine to 0."""
    warmup = max(1, round(num_steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))

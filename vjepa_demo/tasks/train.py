"""Fine-tuning on labelled clips: a generator of reports that the command line, the page and the API consume.

Everything below the freeze line is a constant of a clip: it is computed once, kept, and each epoch runs only what
learns. An epoch's order and dropout are drawn from the seed and the epoch's number alone, so that a run that was
killed and resumed ends like one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vjepa_demo.config import (
    CHECKPOINT_CONFIG_FILE,
    DIMENSIONS,
    ClipConfig,
    Scope,
    TrainConfig,
)
from vjepa_demo.data.hub import Token
from vjepa_demo.data.split import split_records
from vjepa_demo.files import content_sha256
from vjepa_demo.media.video import Clip, clip_pixels, load_clip
from vjepa_demo.model.checkpoint import (
    Checkpoint,
    bring_encoders,
    load_base,
    put_weights,
    read_tensors,
    save_checkpoint,
    trained_weights,
    write_tensors,
)
from vjepa_demo.model.features import FeatureCache, FeatureKey, VideoFeatures, feature_cache
from vjepa_demo.model.losses import mos_loss
from vjepa_demo.model.metrics import evaluate
from vjepa_demo.model.randomness import seeded
from vjepa_demo.model.vjepa import VJEPAModel, inference_dtype, on_scale
from vjepa_demo.schema import (
    WORD,
    CheckpointError,
    EncodingReport,
    EpochReport,
    Evaluation,
    LabelSource,
    RecordError,
    RecordProblem,
    RecordSet,
    SplitReport,
    StartReport,
    TrainedOn,
    TrainingData,
    TrainingReport,
    TrainingResult,
    VideoError,
    VideoRecord,
    content_digest,
)
from vjepa_demo.tasks.evaluate import label_tensor, metrics_beside_baseline
from vjepa_demo.tasks.launch import enough_memory, training_device

LoadClip = Callable[[Path, ClipConfig], Clip]
STATE_FILE, RUN_FILE = "training_state.safetensors", "run.json"
WORK_FOLDER = ".training"  # inside the checkpoint's folder, until the run is over
MIN_TRAINING_CLIPS = 2
LEARNED_FROM = 3  # clips with a word in their prompts, at least, before it counts as known
MIN_JUDGED_CLIPS = 3  # a rank correlation of two clips says nothing
TOO_LARGE: dict[Scope, str] = {
    "head": "choose a smaller model",
    "top": "halve the batch size and double --accumulate, train the head alone (scope head), or choose a smaller model",
}


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
    if (folder / CHECKPOINT_CONFIG_FILE).exists() and not (folder / WORK_FOLDER).exists():
        raise RecordError(f"{folder} holds a checkpoint already: train into another folder, or delete it first")
    with enough_memory(name, TOO_LARGE[config.scope]):
        model, base = load_base(name, device=device or training_device(), token=token, seed=config.seed)
        if base is None:
            _check_all_dimensions(name, data)
        else:
            data = replace(data, known_words=base.trained_on.known_words)
        yield from train(
            model, data, config, folder, base=base, resume=resume, should_stop=should_stop, cache=feature_cache()
        )


def split_for_training(
    records: RecordSet, config: TrainConfig, *, description: str, kind: LabelSource
) -> tuple[TrainingData, SplitReport]:
    """`records` as clips to learn from and clips to validate with, split as `config` says, and a report on that.

    Raises:
        RecordError: if nothing is left to learn from.
    """
    split = split_records(records.records, validation_fraction=config.validation_fraction, seed=config.seed)
    label_range = (records.label_range.low, records.label_range.high)
    data = TrainingData(split.train, split.validation, description, kind=kind, label_range=label_range)
    return data, SplitReport(len(split.train), len(split.validation), split.warnings)


def _check_all_dimensions(name: str, data: TrainingData) -> None:
    """A new head answers five times; a dimension that no label taught it would be noise that looks like a score."""
    missing = [dimension for dimension in DIMENSIONS if not any(dimension in record.labels for record in data.train)]
    if missing:
        raise RecordError(
            f"{name} has no trained head yet, and there is no label for {', '.join(missing)}: "
            f"label all five dimensions, train its first head (train --bootstrap --model {name}), or start from demo"
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
    last the `TrainingResult`. `should_stop` is asked before each clip and step: once it says yes, the run ends with the
    best weights so far. Closing the generator abandons the run. After each epoch its state is on disk, whole: with
    `resume` a killed run goes on from there. Under `accelerate launch` every process calls this alike.

    `base` is the checkpoint that `model` was loaded from, None where its head is new: a run is resumed only on the same
    weights, and the new checkpoint remembers the clips of the old one beside its own. What the frozen part makes of
    the clips is kept in `cache`, by default one in memory; what does not fit there is computed anew each epoch.

    Raises:
        RecordError: if fewer than two clips are left to learn from, the run to resume was another one, it was stopped
            before anything was learned, or the loss is no longer a number.
        CheckpointError: if there is no run to resume.
    """
    features = _Features(model, config, load, cache or FeatureCache())
    run = _Run(model, data, config, Path(folder), base, features)
    run.begin(resume=resume)
    try:
        yield from run.encode(should_stop)
        run.prepare()
        if base is not None and not run.epoch:
            yield from run.start()
        yield from run.epochs(should_stop)
        yield run.finish()
    finally:
        features.release()


class _Learner(nn.Module):
    """What runs in each step, as one module: from cached features and text to scores (B, 5)."""

    def __init__(self, model: VJEPAModel, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self._top, self._train_text = config.scope == "top", config.train_text

    def forward(self, video: Tensor, prompts: Sequence[str], text: Tensor) -> Tensor:
        features = self.model.encode_tail(video) if self._top else video
        text = self.model.embed_text(prompts) if self._train_text else text
        return self.model.predict_with_features(features, text)


class _Features:
    """What the frozen part makes of each clip and prompt: from the cache, else computed anew."""

    def __init__(self, model: VJEPAModel, config: TrainConfig, load: LoadClip, cache: FeatureCache) -> None:
        self._model, self._load, self._cache = model, load, cache
        self._layer = model.num_frozen_layers if config.scope == "top" else None
        self._keys: dict[Path, FeatureKey] = {}
        self._texts: dict[str, Tensor] = {}

    def encode(self, record: VideoRecord) -> bool:
        """Compute and keep what `record` needs; False where it has to be computed again each time.

        Raises:
            VideoError: if the file cannot be read as a video.
        """
        self._get(record.video)
        return self._cache.keeps(self._key(record.video))

    def read_prompts(self, records: Sequence[VideoRecord]) -> None:
        """Compute the text features of each different prompt once."""
        for prompt in {record.prompt: None for record in records}:
            self._texts[prompt] = self._model.encode_text([prompt])[0]

    def video(self, record: VideoRecord) -> Tensor:
        """Pooled features (hidden,), or the hidden state at the freeze line (N, hidden)."""
        return self._get(record.video).values.to(self._model.device).float()

    def text(self, record: VideoRecord) -> Tensor:
        """Text features (text_dim,)."""
        return self._texts[record.prompt]

    def digest(self, record: VideoRecord) -> str:
        """What a checkpoint remembers the clip of `record` by."""
        return content_digest(self._key(record.video).content_sha256)

    def release(self) -> None:
        """The run is over: what it used may go from the cache."""
        self._cache.release(self._keys.values())

    def _get(self, video: Path) -> VideoFeatures:
        return self._cache.get_or_compute(self._key(video), lambda: self._compute(video))

    @torch.no_grad()
    def _compute(self, video: Path) -> VideoFeatures:
        """Pooled features, as scoring keeps them; or the hidden state, as exact as the products that it comes from."""
        clip_config = self._model.clip_config
        clip = self._load(video, clip_config)
        hidden = self._model.encode_prefix(clip_pixels(clip, clip_config))  # (1, N, hidden)
        values = self._model.encode_tail(hidden) if self._layer is None else hidden.to(self._model.dtype)
        return VideoFeatures(values[0].cpu(), clip.frame_seconds, clip.duration_seconds)

    def _key(self, video: Path) -> FeatureKey:
        if video not in self._keys:
            key = FeatureKey.of(self._model, content_sha256(video), layer=self._layer)
            self._cache.hold([key])
            self._keys[video] = key
        return self._keys[video]


class _Run:
    """One training run: its data, what learns, and how far it is."""

    def __init__(
        self,
        model: VJEPAModel,
        data: TrainingData,
        config: TrainConfig,
        folder: Path,
        base: Checkpoint | None,
        features: _Features,
    ) -> None:
        self.data, self.config, self.folder, self.base, self.features = data, config, folder, base, features
        self.model_config = model.config if base is None else base.model  # where the checkpoint finds its encoders
        self.accelerator = Accelerator(
            cpu=model.device.type == "cpu",
            gradient_accumulation_steps=config.accumulate,
            dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=config.seed),
        )
        model.set_trainable(top_layers=config.scope == "top", text=config.train_text)
        model.multiply_in(inference_dtype(model.device))
        self.model = model
        self.work = folder / WORK_FOLDER
        self.train, self.validation = list(data.train), list(data.validation)
        self.epoch = self.best_epoch = 0
        self.best_score = -math.inf
        self.start_score: float | None = None
        self.best_weights = trained_weights(model)

    def begin(self, *, resume: bool) -> None:
        """Make the folder of the run, empty but for one that is resumed, which must be the same run."""
        path, identity = self.work / RUN_FILE, self._identity()
        if resume:
            try:
                found = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise CheckpointError(f"nothing to resume: {self.folder} holds no run that was killed") from error
            if found != identity:
                raise RecordError(
                    f"the run in {self.folder} had other labels, another model or other settings: "
                    "resume it with the same, or train into another folder"
                )
        elif self.accelerator.is_main_process:
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir(parents=True)
            path.write_text(json.dumps(identity))
        self.accelerator.wait_for_everyone()

    # ---- the frozen part, once a clip --------------------------------------------------------------------------------

    def encode(self, should_stop: Callable[[], bool]) -> Iterator[EncodingReport]:
        """Each process its share of the clips; rows that fail are left out everywhere, and told."""
        records = [*self.train, *self.validation]
        mine = records[self.accelerator.process_index :: self.accelerator.num_processes]
        problems: list[RecordProblem] = []
        recomputed, begin = 0, time.perf_counter()
        for done, record in enumerate(mine, start=1):
            if should_stop():
                raise RecordError("stopped while the clips were read: nothing was learned, nothing was saved")
            try:
                recomputed += not self.features.encode(record)
            except VideoError as error:
                problems.append(RecordProblem(record.line, str(error)))
            left = (time.perf_counter() - begin) / done * (len(mine) - done)
            yield EncodingReport(done, len(mine), left, recomputed, tuple(problems))
        self._leave_out(gather_object(problems))

    def _leave_out(self, problems: Sequence[RecordProblem]) -> None:
        bad = {problem.line for problem in problems}
        self.train = [record for record in self.train if record.line not in bad]
        self.validation = [record for record in self.validation if record.line not in bad]
        if len(self.train) < MIN_TRAINING_CLIPS:
            raise RecordError(
                f"{len(self.train)} clips are left to learn from, {MIN_TRAINING_CLIPS} at least are needed: "
                "mend the rows with problems or add clips"
            )
        self.features.read_prompts([*self.train, *self.validation])

    # ---- what learns -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Learner, optimizer, schedule and batches; and the state of the last whole epoch, where there was one."""
        learner = _Learner(self.model, self.config)
        groups = [group for group in self.model.get_discriminative_params(self.config.learning_rate) if group["params"]]
        optimizer = torch.optim.AdamW(groups, weight_decay=self.config.weight_decay)
        if (self.work / STATE_FILE).exists():
            self._restore(optimizer)
        rows: Any = range(len(self.train))  # indexable and sized: all that a DataLoader asks of a data set
        generator = torch.Generator()  # its own: from torch's, other threads draw too
        indices = DataLoader(rows, batch_size=self.config.batch_size, shuffle=True, generator=generator)
        self.learner, self.optimizer, self.batches = self.accelerator.prepare(learner, optimizer, indices)
        self.rates = [group["lr"] for group in groups]
        self.steps_per_epoch = math.ceil(len(self.batches) / self.config.accumulate)

    def start(self) -> Iterator[StartReport]:
        """How good the model is before it learns, where that can be judged."""
        loss, evaluation = self._validate()
        if loss is not None and evaluation is not None:
            self.start_score = evaluation.vquala_score.value
            yield StartReport(loss, evaluation)

    def epochs(self, should_stop: Callable[[], bool]) -> Iterator[EpochReport]:
        """An epoch after another, until all are done, nothing gets better, or `should_stop` says so."""
        while self.epoch < self.config.epochs and self.epoch - self.best_epoch < self.config.patience:
            begin = time.perf_counter()
            loss = self._learn(self.epoch + 1, should_stop)
            if loss is None:
                return
            self.epoch += 1
            validation_loss, evaluation = self._validate()
            is_best = self._keep_if_best(validation_loss, evaluation)
            self._save_state()
            seconds = time.perf_counter() - begin
            yield EpochReport(
                epoch=self.epoch,
                epochs=self.config.epochs,
                loss=loss,
                validation_loss=validation_loss,
                validation=evaluation,
                is_best=is_best,
                seconds=seconds,
                seconds_left=seconds * (self.config.epochs - self.epoch),
            )

    def _learn(self, epoch: int, should_stop: Callable[[], bool]) -> float | None:
        """One epoch's mean loss over its batches; None if it was stopped half-way."""
        self.batches.set_epoch(epoch)  # the order of the clips
        self.learner.train()
        losses = []
        for step, indices in enumerate(self.batches):
            if should_stop():
                return None
            self._set_rate((epoch - 1) * self.steps_per_epoch + step // self.config.accumulate)
            # Dropout depends on seed, epoch and step alone: a resumed run draws what an uninterrupted one would.
            with self.accelerator.accumulate(self.learner), seeded(self.config.seed, epoch, step):
                predictions, labels = self._predict([self.train[index] for index in indices.tolist()])
                loss = mos_loss(predictions, labels)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.learner.parameters(), self.config.gradient_clip)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
        mean = float(self.accelerator.reduce(torch.stack(losses).mean(), reduction="mean"))
        if not math.isfinite(mean):
            raise RecordError(f"the loss of epoch {epoch} is {mean}: lower the learning rate and train again")
        return mean

    def _predict(self, records: Sequence[VideoRecord]) -> tuple[Tensor, Tensor]:
        """Predictions and labels (B, 5); a missing label is NaN."""
        video = torch.stack([self.features.video(record) for record in records])
        text = torch.stack([self.features.text(record) for record in records])
        return self.learner(video, [record.prompt for record in records], text), label_tensor(records).to(video.device)

    def _set_rate(self, step: int) -> None:
        factor = schedule(step, self.config.epochs * self.steps_per_epoch, self.config.warmup_share)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    # ---- how well it does --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _validate(self) -> tuple[float | None, Evaluation | None]:
        if not self.validation:
            return None, None
        outputs, labels = self._outputs(self.validation), label_tensor(self.validation)
        return float(mos_loss(outputs, labels)), evaluate(on_scale(outputs), labels, num_resamples=0)

    @torch.no_grad()
    def _outputs(self, records: Sequence[VideoRecord]) -> Tensor:
        """What the head answers (N, 5), on the CPU and not cut to the scale; each process computes its share."""
        self.learner.eval()
        learner = self.accelerator.unwrap_model(self.learner)
        count, mine = self.accelerator.num_processes, []
        for start in range(self.accelerator.process_index, len(records), count * self.config.batch_size):
            part = records[start : start + count * self.config.batch_size : count]
            video = torch.stack([self.features.video(record) for record in part])
            text = torch.stack([self.features.text(record) for record in part])
            mine.append(learner(video, [record.prompt for record in part], text).cpu())
        return _interleaved(gather_object([torch.cat(mine) if mine else torch.empty(0, len(DIMENSIONS))]), len(records))

    def _keep_if_best(self, validation_loss: float | None, evaluation: Evaluation | None) -> bool:
        """By the VQualA score; by the loss where no labels can be ranked; the last epoch where none can be judged."""
        if validation_loss is None:
            score = float(self.epoch)
        elif evaluation is None or not self._can_rank():
            score = -validation_loss
        else:
            score = -1.0 if evaluation.vquala_score.value is None else evaluation.vquala_score.value
        if score <= self.best_score:
            return False
        self.best_score, self.best_epoch = score, self.epoch
        self.best_weights = {name: value.clone() for name, value in trained_weights(self.model).items()}
        return True

    def _can_rank(self) -> bool:
        """Whether the validation labels of some dimension are enough, and different enough, for a correlation."""
        labels = ([record.labels[name] for record in self.validation if name in record.labels] for name in DIMENSIONS)
        return any(len(values) >= MIN_JUDGED_CLIPS and len(set(values)) > 1 for values in labels)

    def finish(self) -> TrainingResult:
        """The best weights in a checkpoint, with their metrics, standard errors and the no-video baseline.

        Raises:
            RecordError: if not a single epoch was completed.
        """
        if not self.best_epoch:
            raise RecordError("stopped before the first epoch ended: nothing was learned, nothing was saved")
        put_weights(self.model, self.best_weights, source=self.work / STATE_FILE)
        evaluation = None
        predictions = torch.empty(0, len(DIMENSIONS))
        if self.validation:
            predictions = on_scale(self._outputs(self.validation))  # judged as they will be shown
            evaluation = metrics_beside_baseline(predictions, self.validation, self.train)
        if self.accelerator.is_main_process:
            if self.base is not None:
                bring_encoders(self.base, self.folder)
            self._save_checkpoint(evaluation)
            shutil.rmtree(self.work)
        self.accelerator.wait_for_everyone()
        return TrainingResult(
            folder=self.folder,
            epochs=self.epoch,
            best_epoch=self.best_epoch,
            evaluation=evaluation,
            start_score=self.start_score,
            labels=tuple(map(tuple, label_tensor(self.validation).tolist())),
            predictions=tuple(map(tuple, predictions.tolist())),
        )

    def _save_checkpoint(self, evaluation: Evaluation | None) -> None:
        measured = evaluation.to_dict() if evaluation is not None else {}
        sroccs = {name: metrics["srocc"] for name, metrics in measured.get("dimensions", {}).items()}
        prompts = {record.prompt_key for record in self.train}
        learned_before = () if self.base is None else self.base.trained_on.digests
        trained_on = TrainedOn(
            kind=self.data.kind,
            num_clips=len(self.train),
            description=self.data.description,
            srocc={name: value for name, value in sroccs.items() if value is not None},
            num_held_out=len(self.validation),
            num_shared_prompts=sum(record.prompt_key in prompts for record in self.validation),
            dimensions=tuple(name for name in DIMENSIONS if any(name in record.labels for record in self.train)),
            vquala_score=measured.get("vquala_score"),
            no_video_baseline=measured.get("no_video_baseline"),
            digests=tuple(sorted({*learned_before, *map(self.features.digest, self.train)})),
            known_words=_with_words_of(self.train, self.data.known_words),
            lead=None if evaluation is None else evaluation.lead.value,
            lead_standard_error=None if evaluation is None else evaluation.lead.standard_error,
        )
        save_checkpoint(
            self.model,
            self.folder,
            trained_on=trained_on,
            model_config=self.model_config,
            label_range=self.data.label_range,
        )

    # ---- killed and resumed ------------------------------------------------------------------------------------------

    def _save_state(self) -> None:
        """All that the next epoch depends on, in one file, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"now/{name}": value for name, value in trained_weights(self.model).items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
        info = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "start_score": self.start_score,
        }
        write_tensors(self.work / STATE_FILE, tensors, info)

    def _restore(self, optimizer: torch.optim.Optimizer) -> None:
        tensors, info = read_tensors(self.work / STATE_FILE)
        self.epoch, self.best_epoch, self.best_score = info["epoch"], info["best_epoch"], info["best_score"]
        self.start_score = info["start_score"]
        self.best_weights = _with_prefix(tensors, "best/")
        put_weights(self.model, _with_prefix(tensors, "now/"), source=self.work / STATE_FILE)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(tensors, "optimizer/").items():
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})

    def _identity(self) -> str:
        """A digest of what a run must have in common with the one it resumes: model, settings and labels."""
        rows = [(r.name, r.prompt, sorted(r.labels.items())) for r in (*self.data.train, *self.data.validation)]
        model = [self.model_config.to_dict(), self.base and self.base.weights_sha256]
        text = json.dumps([model, self.config.to_dict(), len(self.data.train), rows])
        return hashlib.sha256(text.encode()).hexdigest()


def schedule(step: int, num_steps: int, warmup_share: float) -> float:
    """Factor of the learning rate at `step` of `num_steps`: linear warm-up from above 0, then half a cosine to 0."""
    warmup = max(1, round(num_steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def _interleaved(parts: Sequence[Tensor], total: int) -> Tensor:
    """One tensor (total, 5) from the parts of all processes, of which process p had rows p, p + count, ..."""
    whole = torch.empty(total, len(DIMENSIONS))
    for index, part in enumerate(parts):
        whole[index :: len(parts)] = part
    return whole


def _with_words_of(records: Sequence[VideoRecord], known_words: Sequence[str]) -> tuple[str, ...]:
    """`known_words` and those that several records have in their prompts, sorted; none where the text encoder knows
    English. From a single clip a word is not learned, and a rare one, such as a name, stays out of the checkpoint."""
    if not known_words:
        return ()
    clips = Counter(word for record in records for word in {each.lower() for each in WORD.findall(record.prompt)})
    return tuple(sorted({*known_words, *(word for word, count in clips.items() if count >= LEARNED_FROM)}))


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

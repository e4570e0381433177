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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vjepa_demo.config import CHECKPOINT_CONFIG_FILE, DIMENSIONS, Scope, TrainConfig
from vjepa_demo.data.hub import Token
from vjepa_demo.data.split import split_records
from vjepa_demo.files import exists, only_process, writing
from vjepa_demo.media.video import load_clip
from vjepa_demo.model.checkpoint import Checkpoint, bring_encoders, load_base, save_checkpoint
from vjepa_demo.model.features import FeatureCache, feature_cache
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
    well_formed,
)
from vjepa_demo.tasks.evaluate import label_tensor, metrics_beside_baseline
from vjepa_demo.tasks.frozen import FrozenFeatures, LoadClip
from vjepa_demo.tasks.launch import enough_memory, from_main_process, training_device
from vjepa_demo.tasks.run_state import WORK_FOLDER, RunState

MIN_TRAINING_CLIPS = 2
# A word counts as known from so many clips: one clip does not teach it, and a rare one may be a name to keep out.
LEARNED_FROM = 3
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
    if exists(folder / CHECKPOINT_CONFIG_FILE) and not exists(folder / WORK_FOLDER):
        raise RecordError(f"{folder} holds a checkpoint already: train into another folder, or delete it first")
    with enough_memory(name, TOO_LARGE[config.scope]):
        model, base = load_base(name, device=device or training_device(), token=token, seed=config.seed)
        if base is not None:
            data = replace(data, known_words=base.trained_on.known_words)
        elif missing := [each for each in DIMENSIONS if not any(each in record.labels for record in data.train)]:
            # A new head answers five times: what no label taught it would be noise that looks like a score.
            raise RecordError(
                f"{name} has no trained head yet, and there is no label for {', '.join(missing)}: label all five "
                f"dimensions, train its first head (train --bootstrap --model {name}), or start from demo"
            )
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
    data = TrainingData(split.train, split.validation, well_formed(description), kind=kind, label_range=label_range)
    return data, SplitReport(len(split.train), len(split.validation), split.warnings)


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
        CheckpointError: if there is no run to resume, or `folder` cannot be written.
        BusyError: if another run trains into `folder` now.
    """
    folder, features = Path(folder), FrozenFeatures(model, config, load, cache or FeatureCache())
    with ExitStack() as stack:
        stack.enter_context(writing(folder, advice="choose another folder, or make room there", kind=CheckpointError))
        stack.callback(features.release)
        run = _Run(model, data, config, folder, base, features)
        from_main_process(lambda: stack.enter_context(_claimed(folder)))
        run.begin(resume=resume)
        yield from run.encode(should_stop)
        run.prepare()
        if base is not None and not run.state.epoch:
            yield from run.start()
        yield from run.epochs(should_stop)
        result = run.finish()
    yield result  # the folder is the caller's by now


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"another run trains into {folder} now: wait until it ends, stop it, or train into another folder"
    with only_process(folder / ".lock", busy=busy):
        yield


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
        self.train, self.validation = list(data.train), list(data.validation)
        self.state = RunState(folder, model, self.accelerator)

    def begin(self, *, resume: bool) -> None:
        """Make the run's folder, or find the run there that is resumed: of the same model, settings and labels."""
        rows = [(each.name, each.prompt, sorted(each.labels.items())) for each in (*self.train, *self.validation)]
        model = [asdict(self.model_config), self.base and self.base.weights_sha256]
        text = json.dumps([model, asdict(self.config), len(self.train), rows])
        self.state.begin(hashlib.sha256(text.encode()).hexdigest(), resume=resume)

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
        bad = {problem.line for problem in gather_object(problems)}
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
        """Learner, optimizer and batches; and the state of the last whole epoch, where there was one."""
        learner = _Learner(self.model, self.config)
        groups = [group for group in self.model.get_discriminative_params(self.config.learning_rate) if group["params"]]
        optimizer = torch.optim.AdamW(groups, weight_decay=self.config.weight_decay)
        self.state.restore(optimizer)
        rows: Any = range(len(self.train))  # indexable and sized: all that a DataLoader asks of a data set
        generator = torch.Generator()  # its own: from torch's, other threads draw too
        indices = DataLoader(rows, batch_size=self.config.batch_size, shuffle=True, generator=generator)
        self.learner, self.optimizer, self.batches = self.accelerator.prepare(learner, optimizer, indices)
        self.rates = [group["lr"] for group in groups]

    def start(self) -> Iterator[StartReport]:
        """How good the model is before it learns, where that can be judged."""
        loss, evaluation = self._validate()
        if loss is not None and evaluation is not None:
            self.state.start_score = evaluation.vquala_score.value
            yield StartReport(loss, evaluation)

    def epochs(self, should_stop: Callable[[], bool]) -> Iterator[EpochReport]:
        """An epoch after another, until all are done, nothing gets better, or `should_stop` says so."""
        config, state, accelerator = self.config, self.state, self.accelerator
        steps_per_epoch = math.ceil(len(self.batches) / config.accumulate)
        while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
            epoch, begin, losses = state.epoch + 1, time.perf_counter(), []
            self.batches.set_epoch(epoch)  # the order of the clips
            self.learner.train()
            for index, rows in enumerate(self.batches):
                if should_stop():
                    return
                step = state.epoch * steps_per_epoch + index // config.accumulate
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = rate * schedule(step, config.epochs * steps_per_epoch, config.warmup_share)
                batch = [self.train[row] for row in rows.tolist()]
                # Dropout depends on seed, epoch and step alone: a resumed run draws what an uninterrupted one would.
                with accelerator.accumulate(self.learner):
                    with seeded(config.seed, epoch, index):
                        predictions = self.learner(*self.features.inputs(batch))  # (B, 5)
                    loss = mos_loss(predictions, label_tensor(batch).to(predictions.device))
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(self.learner.parameters(), config.gradient_clip)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                losses.append(loss.detach())
            mean = float(accelerator.reduce(torch.stack(losses).mean(), reduction="mean"))
            if not math.isfinite(mean):
                raise RecordError(f"the loss of epoch {epoch} is {mean}: lower the learning rate and train again")
            validation_loss, evaluation = self._validate()
            is_best = state.end_epoch(self._rating(epoch, validation_loss, evaluation), self.optimizer)
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

    # ---- how well it does --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _validate(self) -> tuple[float | None, Evaluation | None]:
        if not self.validation:
            return None, None
        outputs, labels = self._outputs(), label_tensor(self.validation)
        return float(mos_loss(outputs, labels)), evaluate(on_scale(outputs), labels, num_resamples=0)

    @torch.no_grad()
    def _outputs(self) -> Tensor:
        """What the head answers for the validation clips (N, 5), on the CPU and not cut to the scale; each process
        computes its share."""
        self.learner.eval()
        learner = self.accelerator.unwrap_model(self.learner)
        count, mine = self.accelerator.num_processes, [torch.empty(0, len(DIMENSIONS))]
        own = self.validation[self.accelerator.process_index :: count]
        for start in range(0, len(own), self.config.batch_size):
            mine.append(learner(*self.features.inputs(own[start : start + self.config.batch_size])).cpu())
        outputs = torch.empty(len(self.validation), len(DIMENSIONS))
        for index, part in enumerate(gather_object([torch.cat(mine)])):
            outputs[index::count] = part
        return outputs

    def _rating(self, epoch: int, validation_loss: float | None, evaluation: Evaluation | None) -> float:
        """How good `epoch` is among the others: by the VQualA score; by the loss where no labels can be ranked; the
        last one where none can be judged."""
        if validation_loss is None or evaluation is None:
            return float(epoch)
        labels = ([record.labels[name] for record in self.validation if name in record.labels] for name in DIMENSIONS)
        if not any(len(values) >= MIN_JUDGED_CLIPS and len(set(values)) > 1 for values in labels):
            return -validation_loss
        return -1.0 if evaluation.vquala_score.value is None else evaluation.vquala_score.value

    def finish(self) -> TrainingResult:
        """The best weights in a checkpoint, with their metrics, standard errors and the no-video baseline.

        Raises:
            RecordError: if not a single epoch was completed.
        """
        self.state.load_best()
        evaluation = None
        predictions = torch.empty(0, len(DIMENSIONS))
        if self.validation:
            predictions = on_scale(self._outputs())  # judged as they will be shown
            evaluation = metrics_beside_baseline(predictions, self.validation, self.train)
        if self.accelerator.is_main_process:
            if self.base is not None:
                bring_encoders(self.base, self.folder)
            save_checkpoint(
                self.model,
                self.folder,
                trained_on=self._trained_on(evaluation),
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
            start_score=self.state.start_score,
            labels=tuple(map(tuple, label_tensor(self.validation).tolist())),
            predictions=tuple(map(tuple, predictions.tolist())),
        )

    def _trained_on(self, evaluation: Evaluation | None) -> TrainedOn:
        measured = evaluation.to_dict() if evaluation is not None else {}
        sroccs = {name: metrics["srocc"] for name, metrics in measured.get("dimensions", {}).items()}
        prompts = {record.prompt_key for record in self.train}
        learned_before = () if self.base is None else self.base.trained_on.digests
        known_words = set(self.data.known_words)
        if known_words:  # else the text encoder knows English
            prompt_words = ({word.lower() for word in WORD.findall(each.prompt)} for each in self.train)
            words = Counter(chain.from_iterable(prompt_words))
            known_words |= {word for word, num_clips in words.items() if num_clips >= LEARNED_FROM}
        return TrainedOn(
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
            known_words=tuple(sorted(known_words)),
            lead=None if evaluation is None else evaluation.lead.value,
            lead_standard_error=None if evaluation is None else evaluation.lead.standard_error,
        )


def schedule(step: int, num_steps: int, warmup_share: float) -> float:
    """Factor of the learning rate at `step` of `num_steps`: linear warm-up from above 0, then half a cosine to 0."""
    warmup = max(1, round(num_steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))

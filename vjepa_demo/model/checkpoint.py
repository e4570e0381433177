"""A checkpoint is a folder: `config.json`, `model.safetensors` (only what was trained) and a model card.

Nothing else is needed to load it, and nothing in it is code. Files are written whole or not at all, `config.json`
last; it holds the digest of the weights, so that a folder with files of two checkpoints is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from safetensors.torch import save_file

from vjepa_demo.config import (
    CHECKPOINT_CARD_FILE,
    CHECKPOINT_CONFIG_FILE,
    CHECKPOINT_MAX_BYTES,
    CHECKPOINT_WEIGHTS_FILE,
    CHECKPOINT_ZIP_LIMITS,
    CPU_FRAMES,
    DIMENSIONS,
    ENCODER_FILES,
    ENCODER_FOLDERS,
    HUB_ID,
    SCORE_MAX,
    SCORE_MIN,
    ModelConfig,
    View,
    model_presets,
)
from vjepa_demo.data.hub import HubRepo, Token, download_snapshot, parse_repo, upload_files
from vjepa_demo.files import (
    content_sha256,
    exists,
    is_file,
    is_folder,
    new_folder,
    reading,
    replacing,
    write_whole,
)
from vjepa_demo.media.archive import ArchiveError, extract_zip, is_hidden
from vjepa_demo.model.card import model_card
from vjepa_demo.model.encoders import check_text_encoder, check_video_encoder, folder_digest
from vjepa_demo.model.source import FLOATS, stored_weights
from vjepa_demo.model.vjepa import OptimizedMOSHead, VJEPAModel, resolve_device
from vjepa_demo.ranges import CHECKPOINT, MAX_CHECKPOINT_CONFIG_BYTES, check, read_object, shown
from vjepa_demo.schema import CheckpointError, FolderError, ModelError, TrainedOn
from vjepa_demo.wording import clips_and_pairs

FORMAT = "vjepa-demo-checkpoint"
FORMAT_VERSION = 1
WEIGHTS_FILE, CARD_FILE = CHECKPOINT_WEIGHTS_FILE, CHECKPOINT_CARD_FILE
CHECKPOINT_FILES = (CHECKPOINT_CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
# The files that travel, as the patterns of fnmatch.
CHECKPOINT_PATTERNS = (*CHECKPOINT_FILES, *(f"{folder}/{name}" for folder in ENCODER_FOLDERS for name in ENCODER_FILES))


@dataclass(frozen=True)
class Checkpoint:
    """What `config.json` says: the model, what its head learned from, and the SHA-256 of its weights file.

    `label_range` is the range the labels were given in, which was mapped linearly to 1..5. `encoders_sha256` maps each
    encoder inside the folder to the digest of its files; one that an older version of this program saved has none.
    """

    folder: Path
    model: ModelConfig
    trained_on: TrainedOn
    weights_sha256: str
    label_range: tuple[float, float] = (SCORE_MIN, SCORE_MAX)
    encoders_sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def encoders(self) -> tuple[str, str]:
        """The Hub ids or folders of the video and the text encoder."""
        return self.model.video_encoder, self.model.text_encoder


def trained_weights(model: VJEPAModel) -> dict[str, torch.Tensor]:
    """The head, and whatever else of `model` trains or was trained before, by name, on the CPU."""
    return {
        name: value.detach().cpu()
        for name, value in model.named_parameters()
        if value.requires_grad or name in model.changed or name.startswith("head.")
    }


def save_checkpoint(
    model: VJEPAModel,
    folder: str | Path,
    *,
    trained_on: TrainedOn,
    model_config: ModelConfig | None = None,
    label_range: tuple[float, float] = (SCORE_MIN, SCORE_MAX),
) -> None:
    """Write what was trained of `model` (`trained_weights`) to `folder`, which is made if need be.

    `model_config` replaces the model's own where its encoders will be found elsewhere (`./...` in the checkpoint).
    `label_range` is the range the labels were given in, which was mapped linearly to 1..5.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = save_safetensors(trained_weights(model))
    write_whole(folder / WEIGHTS_FILE, weights)
    sha256 = hashlib.sha256(weights).hexdigest()
    config = model_config or model.config
    inside = [each for each in (config.video_encoder, config.text_encoder) if each.startswith("./")]
    digests = {each: folder_digest(folder / each) for each in inside if is_folder(folder / each)}
    _describe(Checkpoint(folder, config, trained_on, sha256, label_range, digests))


def note_measured(folder: str | Path, measured: Mapping[str, str]) -> None:
    """Write into the checkpoint in `folder`, and its card, what was measured of it after it was saved.

    Raises:
        CheckpointError: if `folder` is no checkpoint.
    """
    checkpoint = read_checkpoint(folder)
    _describe(replace(checkpoint, trained_on=replace(checkpoint.trained_on, measured=dict(measured))))


def note_margins(folder: str | Path, margins: Mapping[str, float], num_clips: Mapping[str, int]) -> None:
    """Write into the checkpoint in `folder`, and its card, the `margins` of its scores, which were measured on
    `num_clips` clips after it was saved (see `TrainedOn`). The weights stay as they are.

    Raises:
        CheckpointError: if `folder` is no checkpoint.
    """
    checkpoint = read_checkpoint(folder)
    trained_on = replace(checkpoint.trained_on, margins=dict(margins), num_margin_clips=dict(num_clips))
    _describe(replace(checkpoint, trained_on=trained_on))


def _describe(checkpoint: Checkpoint) -> None:
    """Write the card and `config.json` of `checkpoint` into its folder."""
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": checkpoint.model.to_dict(),
        "dimensions": list(DIMENSIONS),
        "label_range": list(checkpoint.label_range),
        "trained_on": asdict(checkpoint.trained_on),
        "weights_sha256": checkpoint.weights_sha256,
        "encoders_sha256": dict(checkpoint.encoders_sha256),
    }
    card = model_card(checkpoint.model, checkpoint.trained_on, checkpoint.label_range)
    write_whole(checkpoint.folder / CARD_FILE, card)
    write_whole(checkpoint.folder / CHECKPOINT_CONFIG_FILE, json.dumps(config, indent=2))


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """What the checkpoint in `folder` says of itself; loads no weights.

    Raises:
        CheckpointError: if `folder` is no checkpoint of this program, or of a version it does not know.
    """
    path = Path(folder) / CHECKPOINT_CONFIG_FILE
    try:
        config = read_object(path, max_bytes=MAX_CHECKPOINT_CONFIG_BYTES)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no {CHECKPOINT_CONFIG_FILE}. Give the folder that training wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was not written by this program (format {FORMAT!r} expected); "
            "an encoder alone cannot score: give a checkpoint that holds a trained head"
        )
    if config.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {shown(config.get('format_version'))}; "
            f"this program reads {FORMAT_VERSION}: update it"
        )
    if config.get("dimensions") != list(DIMENSIONS):
        raise CheckpointError(
            f"{path} is for the dimensions {shown(config.get('dimensions'))}; expected {list(DIMENSIONS)}"
        )
    try:
        for name, kind in {"model": dict, "trained_on": dict, "weights_sha256": str}.items():
            if not isinstance(config.get(name), kind):
                what = "an object" if kind is dict else "a text"
                raise ValueError(f"{name} is {shown(config.get(name))}; {what} was expected")
        check(config, CHECKPOINT)
        low, high = config.get("label_range", (SCORE_MIN, SCORE_MAX))
        if low >= high:
            raise ValueError(f"label_range is {[low, high]}; the lower end first was expected")
        trained_on = dict(config["trained_on"])
        if trained_on.get("kind") == "human" and "lead" not in trained_on:
            trained_on["kind"] = "undeclared"  # older versions wrote "human" without asking who gave the labels
        return Checkpoint(
            folder=Path(folder),
            model=ModelConfig(**config["model"]),
            trained_on=TrainedOn(**trained_on),
            weights_sha256=config["weights_sha256"],
            label_range=(low, high),
            encoders_sha256=config.get("encoders_sha256", {}),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a model: {error}") from error


def load_checkpoint(
    checkpoint: Checkpoint, *, device: str | torch.device, dtype: torch.dtype = torch.float32
) -> VJEPAModel:
    """The model of `checkpoint` with its trained weights, ready to score.

    Raises:
        CheckpointError: if the weights are missing, damaged, or do not fit the model.
        ModelError: if an encoder cannot be had.
    """
    _check_digests(checkpoint)
    weights = _read_weights(checkpoint)
    config = replace(
        checkpoint.model,
        video_encoder=_encoder_source(checkpoint.folder, checkpoint.model.video_encoder),
        text_encoder=_encoder_source(checkpoint.folder, checkpoint.model.text_encoder),
    )
    model = VJEPAModel.from_config(config, device=device, dtype=dtype, new_head=False)
    put_weights(model, weights, source=checkpoint.folder / WEIGHTS_FILE)
    return model


def put_weights(model: VJEPAModel, weights: Mapping[str, torch.Tensor], *, source: Path) -> None:
    """Give `model` the weights that `trained_weights` took from one like it.

    Raises:
        CheckpointError: if they do not fit, or if any of the head's is not among them.
    """
    try:
        model.replace_weights(weights)
    except ModelError as error:
        raise CheckpointError(f"{source} does not fit its model: {error}") from error


def find_checkpoint(name: str, *, token: Token = False) -> Checkpoint:
    """The checkpoint that `name` stands for: a preset, a folder, or on the Hub `owner/name` or `owner/name@revision`.

    `token` says who may read it on the Hub: by default everybody (see `hub`).

    Raises:
        ModelError: if nothing is there, or only an encoder whose head was never trained.
        CheckpointError: if what is there is not a checkpoint, or the Hub does not give it.
    """
    presets = model_presets()
    if name in presets:
        preset = presets[name]
        if preset.refusal is not None or preset.checkpoint is None:
            raise ModelError(preset.refusal)
        return read_checkpoint(preset.checkpoint)
    if is_folder(name):
        return read_checkpoint(name)
    repo = parse_repo(name)
    if repo is None:
        raise ModelError(
            f"no model {name!r}: choose one of {', '.join(presets)}, "
            "or give a checkpoint folder, or owner/name of one on the Hub"
        )
    return _pull_checkpoint(repo, token, CHECKPOINT_MAX_BYTES)


def find_public_checkpoint(
    name: str, folder: Path, *, max_bytes: int, token: str | Literal[False] = False
) -> Checkpoint:
    """The checkpoint `owner/name` or `owner/name@revision` of at most `max_bytes`, for a `name` that a stranger gave.

    It is fetched into `folder`, from the Hub: public, or such that the stranger's own `token` may read it.

    Raises:
        CheckpointError: if there is none, or see `check_stranger`.
    """
    repo = parse_repo(name)
    if repo is None:
        raise CheckpointError(f"{name[:60]!r} is no checkpoint on the Hub; owner/name was expected")
    return _pull_checkpoint(
        repo, token, max_bytes, cache=folder, check=lambda checkpoint: check_stranger(checkpoint, name)
    )


def check_stranger(checkpoint: Checkpoint, name: str) -> None:
    """
    Raises:
        CheckpointError: if `checkpoint`, called `name`, rests on an encoder that neither lies inside it nor belongs
            to a preset: a stranger must not choose what this machine fetches, with the account of its owner.
    """
    presets = [preset.config for preset in model_presets().values()]
    known = {source for config in presets for source in (config.video_encoder, config.text_encoder)}
    for source in checkpoint.encoders:
        if source not in known:
            raise CheckpointError(
                f"{name} rests on {source[:100]}; this page only fetches the encoders of "
                f"{', '.join(name for name, preset in model_presets().items())}: score with it on your own machine"
            )


def _pull_checkpoint(
    repo: HubRepo,
    token: Token,
    max_bytes: int,
    *,
    cache: Path | None = None,
    check: Callable[[Checkpoint], None] = lambda checkpoint: None,
) -> Checkpoint:
    """The checkpoint in `repo`. Its configuration is fetched first; the other files, of the same commit, only if that
    is one and passes `check`."""
    folder = download_snapshot(
        repo,
        [CHECKPOINT_CONFIG_FILE],
        token=token,
        max_bytes=min(max_bytes, MAX_CHECKPOINT_CONFIG_BYTES),
        cache=cache,
    )
    try:
        checkpoint = read_checkpoint(folder)
        _check_travels(checkpoint)
    except CheckpointError as error:
        raise _said_of(str(repo), folder, error) from error
    check(checkpoint)
    inside = {source[2:] for source in checkpoint.encoders if source.startswith("./")}
    patterns = (*CHECKPOINT_FILES, *(f"{each}/{name}" for each in sorted(inside) for name in ENCODER_FILES))
    whole = download_snapshot(
        replace(repo, revision=folder.name), patterns, token=token, max_bytes=max_bytes, cache=cache
    )
    if not (whole / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"{repo} is not whole: it has no {WEIGHTS_FILE}")
    return replace(checkpoint, folder=whole)


def push_checkpoint(folder: str | Path, repo_id: str, *, token: Token, private: bool = True) -> str:
    """Upload the checkpoint in `folder` to `repo_id` (`owner/name`) in one commit; returns the address of its page.

    The repository is made if need be. What does not belong to the checkpoint, such as a run's state, stays here.

    Raises:
        CheckpointError: if the checkpoint is not whole, rests on a folder of this machine, or the Hub refuses it.
    """
    checkpoint = read_checkpoint(folder)
    _check_whole(checkpoint)
    card = model_card(checkpoint.model, checkpoint.trained_on, checkpoint.label_range)
    files: dict[str, Path | bytes] = {CARD_FILE: card.encode(), **_files(checkpoint.folder)}
    learned = checkpoint.trained_on
    given = clips_and_pairs(learned.num_clips, learned.pairs.num_pairs if learned.pairs else 0)
    message = f"Upload a checkpoint trained on {given}"
    *_, url = upload_files(repo_id, files, token=token, private=private, message=message, is_ours=_travels)
    return str(url)


def zip_checkpoint(folder: str | Path, zip_path: str | Path) -> None:
    """Write what belongs to the checkpoint in `folder`, and nothing else, to `zip_path`, whole or not at all.

    Raises:
        CheckpointError: if the checkpoint is not whole, or rests on a folder of this machine.
    """
    checkpoint, zip_path = read_checkpoint(folder), Path(zip_path)
    _check_whole(checkpoint)
    with replacing(zip_path) as partial, zipfile.ZipFile(partial, "w") as archive:  # stored: weights do not shrink
        for name, path in _files(checkpoint.folder).items():
            archive.write(path, name)


def open_checkpoint_zip(
    zip_path: str | Path, folder: str | Path, *, max_bytes: int = CHECKPOINT_MAX_BYTES
) -> Checkpoint:
    """The checkpoint in a zip as `zip_checkpoint` writes it, extracted into the new or empty `folder`.

    Its files may lie in one top folder, as when a person zips the folder. All of it or nothing is extracted.

    Raises:
        CheckpointError: if the zip is damaged or hostile, or holds anything else than one whole checkpoint.
    """
    zip_path, folder = Path(zip_path), Path(folder)

    def choose(paths: Sequence[str]) -> dict[str, str]:
        paths = [path for path in paths if not is_hidden(path)]
        tops = {PurePosixPath(path).parts[0] for path in paths}
        nested = len(tops) == 1 and all("/" in path for path in paths)
        members = {path: path.partition("/")[2] if nested else path for path in paths}
        for name in (CHECKPOINT_CONFIG_FILE, WEIGHTS_FILE):
            if name not in members.values():
                raise CheckpointError(
                    f"{zip_path.name} is not a checkpoint: it has no {name}. Give the zip that this program wrote"
                )
        if foreign := sorted(path for path, name in members.items() if not _travels(name)):
            raise CheckpointError(
                f"{zip_path.name} holds {foreign[0][:60]!r}, which is no part of a checkpoint: take it out"
            )
        return members

    try:
        with new_folder(folder) as partial:
            most = CHECKPOINT_ZIP_LIMITS
            limits = replace(
                most, entry_bytes=min(most.entry_bytes, max_bytes), total_bytes=min(most.total_bytes, max_bytes)
            )
            extract_zip(zip_path, partial, choose, limits=limits)
            try:
                _check_whole(read_checkpoint(partial))
            except CheckpointError as error:
                raise _said_of(zip_path.name, partial, error) from error
    except (ArchiveError, FolderError) as error:
        raise CheckpointError(str(error)) from error
    return read_checkpoint(folder)


def _travels(path: str) -> bool:
    """Whether `path`, within a checkpoint's folder, is a file that belongs to it."""
    return path.count("/") <= 1 and any(fnmatchcase(path, pattern) for pattern in CHECKPOINT_PATTERNS)


def _files(folder: Path) -> dict[str, Path]:
    """The files that belong to the checkpoint in `folder`, by their path in it."""
    paths = {path.relative_to(folder).as_posix(): path for path in (*folder.glob("*"), *folder.glob("*/*"))}
    return {name: path for name, path in sorted(paths.items()) if _travels(name) and path.is_file()}


def _said_of(name: str, folder: Path, error: CheckpointError) -> CheckpointError:
    """`error` without the path of a folder that the person never saw."""
    return CheckpointError(f"{name}: {str(error).replace(f'{folder}/', '').replace(str(folder), 'it')}")


def _check_whole(checkpoint: Checkpoint) -> None:
    """
    Raises:
        CheckpointError: if the weights or an encoder is missing or damaged, or no model can be built of it, or see
            `_check_travels`.
    """
    _check_travels(checkpoint)
    inside = {source: checkpoint.folder / source for source in checkpoint.encoders if source.startswith("./")}
    for source, folder in inside.items():
        if not (is_file(folder / "config.json") and any(folder.glob("*.safetensors"))):
            raise CheckpointError(f"{checkpoint.folder} is not whole: {source[2:]} has no config.json or no weights")
    _check_digests(checkpoint)
    model = replace(
        checkpoint.model,
        video_encoder=_encoder_source(checkpoint.folder, checkpoint.model.video_encoder),
        text_encoder=_encoder_source(checkpoint.folder, checkpoint.model.text_encoder),
    )
    try:
        stored = stored_weights([checkpoint.folder / WEIGHTS_FILE])
        video = check_video_encoder(model) if checkpoint.model.video_encoder in inside else None
        text = check_text_encoder(model) if checkpoint.model.text_encoder in inside else None
    except ModelError as error:
        raise CheckpointError(str(error)) from error
    except SafetensorError as error:
        raise CheckpointError(f"{checkpoint.folder / WEIGHTS_FILE} is not a safetensors file: {error}") from error
    if video and text:
        views = len(model.views)
        with torch.device("meta"):  # widths: of what each encoder ends in
            head = OptimizedMOSHead(
                views * video["venc.layernorm.weight"][0],
                text["tenc.embeddings.LayerNorm.weight"][0],
                h=model.head_hidden,
            )
        known = video | text | {f"head.{name}": tuple(weight.shape) for name, weight in head.named_parameters()}
        for name in [each for each in known if each.startswith("head.")] + list(stored):
            shape, dtype = stored.get(name, (None, None))
            if shape != known.get(name) or dtype not in FLOATS:
                raise CheckpointError(
                    f"{checkpoint.folder / WEIGHTS_FILE} does not fit its model: {name[:100]} is {shown(shape)} in "
                    f"{dtype}; {known.get(name, 'no such weight')} in one of {', '.join(FLOATS)} was expected"
                )


def _check_travels(checkpoint: Checkpoint) -> None:
    """
    Raises:
        CheckpointError: if an encoder is neither on the Hub nor inside the checkpoint: a stranger's checkpoint must
            not read folders of this machine, and one of this machine's would work nowhere else.
    """
    inside = {f"./{name}" for name in ENCODER_FOLDERS}
    for source in checkpoint.encoders:
        if source not in inside and (not HUB_ID.fullmatch(source) or exists(source)):
            raise CheckpointError(
                f"{checkpoint.folder / CHECKPOINT_CONFIG_FILE} names the encoder {source!r}; "
                "an id on the Hub, or a folder inside the checkpoint, was expected"
            )


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor], info: Mapping[str, Any]) -> None:
    """`tensors` and the JSON values `info` in one safetensors file, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as partial:
        try:
            save_file(cpu, partial, metadata={"info": json.dumps(info)})  # no second copy in memory: it may be large
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `write_tensors` wrote.

    Raises:
        CheckpointError: if there is no such file, or it is none of these.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["info"])  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"nothing to resume: {path} is not there") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not the state of a training run: {error}") from error


def load_base(
    name: str,
    *,
    device: str | torch.device,
    token: Token = False,
    views: Sequence[View] | None = None,
    seed: int = 0,
) -> tuple[VJEPAModel, Checkpoint | None]:
    """The model to start training from, in float32, and its checkpoint (see `find_checkpoint`).

    A preset without a checkpoint gives its encoders, with a new head drawn from `seed`, over `views` (by default the
    preset's own), and None. On a CPU these see `CPU_FRAMES` of a clip, unless a view has its own number.
    """
    preset = model_presets().get(name)
    if preset is None or preset.refusal is None:
        checkpoint = find_checkpoint(name, token=token)
        return load_checkpoint(checkpoint, device=device), checkpoint
    place = resolve_device(device)
    num_frames = CPU_FRAMES if place.type == "cpu" else preset.config.num_frames
    config = replace(preset.config, num_frames=num_frames, views=tuple(views or preset.config.views))
    model = VJEPAModel.from_config(config, device=place)
    model.draw_head(seed)
    return model, None


def bring_encoders(checkpoint: Checkpoint, folder: str | Path) -> None:
    """Copy the encoders that lie inside `checkpoint` into `folder`, for a checkpoint that builds on it."""
    for source in checkpoint.encoders:
        if source.startswith("./"):
            shutil.copytree(_encoder_source(checkpoint.folder, source), Path(folder) / source, dirs_exist_ok=True)


def _encoder_source(folder: Path, source: str) -> str:
    """A Hub id or path as it is; `./name` is inside the checkpoint, and nowhere above it."""
    if not source.startswith("./"):
        if not Path(source).is_absolute() and not HUB_ID.fullmatch(source):
            raise CheckpointError(
                f"{folder / CHECKPOINT_CONFIG_FILE} names the encoder {source!r}; "
                "a Hub id (owner/name), an absolute folder, or ./name inside the checkpoint was expected"
            )
        return source
    path = (folder / source).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder / CHECKPOINT_CONFIG_FILE} names an encoder outside the checkpoint: {source!r}")
    return str(path)


def _check_digests(checkpoint: Checkpoint) -> None:
    """
    Raises:
        CheckpointError: if a file of `checkpoint` is not what its configuration was written with, or is missing.
    """
    path = checkpoint.folder / WEIGHTS_FILE
    with reading(path, kind=CheckpointError):
        digests = {WEIGHTS_FILE: (content_sha256(path), checkpoint.weights_sha256)}
    for source, expected in checkpoint.encoders_sha256.items():
        if source in checkpoint.encoders:
            digests[source[2:]] = folder_digest(_encoder_source(checkpoint.folder, source)), expected
    for name, (found, expected) in digests.items():
        if found != expected:
            raise CheckpointError(
                f"{checkpoint.folder / name} is not what {CHECKPOINT_CONFIG_FILE} was written with: "
                "copy the whole folder again"
            )


def _read_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    path = checkpoint.folder / WEIGHTS_FILE
    try:
        return load_safetensors(path.read_bytes())  # not by its path, which safetensors wants in UTF-8
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error

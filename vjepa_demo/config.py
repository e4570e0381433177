"""What the program measures, on which scale, with which models: every default lives here."""

from __future__ import annotations

import math
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vjepa_demo.ranges import MAX_VIEWS, MODEL, VIEW, Framing, Pooling, check, shown

# The five mean opinion scores, always in this order (VQualA 2025, GenAI-Bench AIGC video quality track).
DIMENSIONS = ("Traditional", "Alignment", "Aesthetic", "Temporal", "Overall")
DIMENSION_MEANINGS = {
    "Traditional": "blur, noise, compression",
    "Alignment": "does the video show what the prompt says",
    "Aesthetic": "visual appeal: exposure, contrast, colour",
    "Temporal": "smooth motion, consistent from frame to frame",
    "Overall": "the video as a whole",
}

# The absolute category rating scale of ITU-T P.910 (2023), section 7.1.
SCORE_MIN, SCORE_MAX = 1.0, 5.0
ACR_WORDS = ("Bad", "Poor", "Fair", "Good", "Excellent")

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ASSETS = PROJECT_ROOT / "assets"

# Learning rates of the three parameter groups, as multiples of one base rate (the seed's discriminative learning).
BASE_LEARNING_RATE = 1e-4
LEARNING_RATE_FACTORS = {"text_encoder": 0.1, "video_encoder": 0.5, "prediction_head": 2.0}

HEAD_HIDDEN = 512
FREEZE_RATIO = 0.85
MAX_TEXT_TOKENS = 512  # what BGE was trained with; a longer prompt is cut

CHECKPOINT_CONFIG_FILE = "config.json"  # a folder that holds it is a checkpoint

MAX_PROMPT_CHARACTERS = 2000
# Every dimension but Alignment is judged with it where a model does not know every word of a prompt. `demo` knows both.
NEUTRAL_PROMPT = "a video"
SHOWN_UNREAD = 48  # letters of the part of a prompt that a model does not read
FEATURE_CACHE_BYTES = 256 * 2**20  # memory for the features and frames of the last clips
SLOW_CLIP_SECONDS = 4.0  # where encoding a clip takes longer, a person is told before it begins
CACHE_VARIABLE, CACHE_GB_VARIABLE = "VJEPA_DEMO_CACHE", "VJEPA_DEMO_CACHE_GB"  # environment variables
CHECKPOINTS_VARIABLE, DATASETS_VARIABLE = "VJEPA_DEMO_CHECKPOINTS", "VJEPA_DEMO_DATASETS"
STUDIES_VARIABLE = "VJEPA_DEMO_STUDIES"
MODEL_VARIABLE = "VJEPA_DEMO_MODEL"
GIGABYTE = 10**9
# Limits of decoding one file, in the process that does only that. A page sets the shorter time, as its visitors are
# strangers and wait; a table of films on the command line may take longer.
DECODE_SECONDS_VARIABLE, DECODE_GB_VARIABLE = "VJEPA_DEMO_DECODE_SECONDS", "VJEPA_DEMO_DECODE_GB"
DECODE_SECONDS, PAGE_DECODE_SECONDS = 1800.0, 120.0
DECODE_BYTES = 6 * GIGABYTE  # the largest frames that are allowed, 8192 x 4320 in HDR, take 4.9
MAX_CACHE_BYTES, CACHE_SHARE = 20 * GIGABYTE, 0.2  # default disk budget: 20 GB, or this share of the free disk
MAX_UPLOAD_BYTES = 2 * 2**30
MAX_FETCHED_BYTES = 4 * 2**30  # of all files that the running calls of one program have fetched
FETCH_SECONDS, MAX_REDIRECTS = 60.0, 10  # limits of a file that a program names by its URL
MAX_BODY_BYTES = 8 * 2**20  # of a request that is no upload: a batch of 20,000 files fits
MAX_KEPT_SESSIONS = 64  # of programs; past it, the session used longest ago is closed
MAX_WAITING = 64  # requests in the queue; the next one is told to come back
MIN_COMPARED, MAX_COMPARED = 2, 4  # videos side by side
COMPARED_LETTERS = "ABCD"  # the names of the videos that are compared
MAX_COMPARISON_BYTES = 2**20  # of a saved comparison

# Labelled tables. Below this many validation clips a rank correlation says nothing.
MAX_TABLE_BYTES = 64 * 2**20
MAX_TABLE_CELLS = 2**22  # a packed or nested file may hold far more than its bytes
TEXT_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
TABLE_SUFFIXES = (*TEXT_TABLE_SUFFIXES, ".xlsx", ".parquet", ".jsonl", ".ndjson", ".json")
MAX_CELL_CHARACTERS = 2**17 - 1  # one less than Python's csv reads: a formula gets an apostrophe in the output
MIN_VALIDATION_CLIPS = 5
INTERVAL_LEVEL = 0.9  # the share of labels that the interval of a score is made to hold
MIN_INTERVAL_CLIPS = 20  # validation clips with a label, below which a dimension has no interval
DATASET_MAX_BYTES = 32 * 2**30  # of videos that are fetched from one data set on the Hub
VISITOR_DATASET_BYTES = 4 * 2**30  # the same for a visitor of the page, who has one data set at a time
# The endings of what FFmpeg reads as video, and Pillow as an animation; not those of sound, single pictures, subtitles
# and raw frames without a header.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mp4v", ".mov", ".qt", ".f4v", ".ism", ".ismv", ".mj2", ".mjp2", ".psp"),
    *(".3gp", ".3gpp", ".3g2", ".3gp2", ".webm", ".mkv", ".mk3d", ".avi", ".divx", ".xvid", ".flv", ".kux"),
    *(".wmv", ".asf", ".wm", ".wtv", ".dvr-ms", ".ogv", ".ogm", ".ogx", ".rm", ".rmvb", ".ivr", ".nut", ".nsv"),
    *(
        ".mpg",
        ".mpeg",
        ".mpe",
        ".mpv",
        ".m1v",
        ".m2v",
        ".mp2v",
        ".mpg2",
        ".mpeg2",
        ".vob",
        ".evo",
        ".vro",
        ".pva",
        ".dvd",
    ),
    *(
        ".ts",
        ".m2ts",
        ".mts",
        ".m2t",
        ".tp",
        ".trp",
        ".mod",
        ".tod",
        ".ty",
        ".mxf",
        ".gxf",
        ".lxf",
        ".imx",
        ".dv",
        ".dif",
    ),
    *(".h261", ".h263", ".h264", ".h26l", ".264", ".avc", ".h265", ".265", ".hevc", ".h266", ".266", ".vvc"),
    *(
        ".ivf",
        ".obu",
        ".av1",
        ".vc1",
        ".vc2",
        ".dnxhd",
        ".dnxhr",
        ".rcv",
        ".avs2",
        ".avs3",
        ".cavs",
        ".drc",
        ".dirac",
        ".y4m",
    ),
    *(".mjpg", ".mjpeg", ".gif", ".apng", ".avif", ".webp", ".flc", ".fli", ".flm", ".swf"),
    *(".amv", ".bik", ".smk", ".roq", ".thp", ".xmv", ".viv", ".vivo", ".nuv", ".moflex", ".mvi", ".yop"),
    *(".dav", ".lvf", ".cine", ".ser", ".rpl", ".film", ".cpk", ".wve", ".vmd", ".4xm", ".bmv", ".cdg", ".cdxl"),
)

# The files of a checkpoint that travel, by zip or over the Hub: never code, never a pickle, never a run's work folder.
CHECKPOINT_WEIGHTS_FILE, CHECKPOINT_CARD_FILE = "model.safetensors", "README.md"
ENCODER_FOLDERS = ("video_encoder", "text_encoder")  # inside a checkpoint that brings its own encoders
ENCODER_FILES = (
    *("config.json", "model.safetensors", "model.safetensors.index.json", "model-?????-of-?????.safetensors"),
    *("video_preprocessor_config.json", "preprocessor_config.json"),
    *("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
)
CHECKPOINT_MAX_BYTES = 16 * 2**30  # both encoders in full are 6 GiB
HUB_LIBRARY = "vjepa-demo"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)  # owner/name
HUB_TIMEOUT_SECONDS = 10.0

# Jobs on the Hub's rented hardware.
JOB_IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"  # huggingface_hub's own choice for programs that uv installs
# One GPU with bfloat16 each, the cheapest first: what is offered where the Hub does not list its hardware.
JOB_HARDWARE = ("l4x1", "a10g-small", "l40sx1", "a100-large", "h200")
JOB_PRICES = "https://huggingface.co/docs/hub/jobs-pricing"
JOB_HOURS, MAX_JOB_HOURS = 2.0, 24.0  # after which a job is ended, finished or not
JOB_LINES = 200  # of its log
JOB_POLL_SECONDS = 5.0
MAX_FOLLOWED_JOBS = 64  # by a page at the same time: a thread each, which talks to the Hub


@dataclass(frozen=True)
class ZipLimits:
    """What a zip may hold: how many entries, bytes in one and in all of them, and bytes out for each byte in."""

    entries: int
    entry_bytes: int
    total_bytes: int
    ratio: int


# Neither videos nor weights shrink much: a zip that grows a hundredfold holds neither.
VIDEO_ZIP_LIMITS = ZipLimits(50_000, 4 * 2**30, 64 * 2**30, 100)
CHECKPOINT_ZIP_LIMITS = ZipLimits(1000, CHECKPOINT_MAX_BYTES, CHECKPOINT_MAX_BYTES, 100)

# What a page that strangers use may give each of them, and all together; in the order of the fields of `Limits`.
LIMIT_VARIABLES = (
    *("VJEPA_DEMO_MAX_UPLOAD_GB", "VJEPA_DEMO_MAX_VIDEO_SECONDS", "VJEPA_DEMO_MAX_VIDEO_FRAMES"),
    *("VJEPA_DEMO_MAX_VIDEO_MEGAPIXELS", "VJEPA_DEMO_MAX_TABLE_ROWS", "VJEPA_DEMO_MAX_ZIP_FILES"),
    *("VJEPA_DEMO_MAX_VISITOR_GB", "VJEPA_DEMO_MAX_TOTAL_GB", "VJEPA_DEMO_MAX_MODELS_GB"),
    *("VJEPA_DEMO_MAX_VISITOR_REQUESTS", "VJEPA_DEMO_MAX_VISITOR_JOBS"),
    "VJEPA_DEMO_MAX_CLIP_SECONDS",
)
OFF_VARIABLE, LOGIN_VARIABLE, AUTH_VARIABLE = "VJEPA_DEMO_OFF", "VJEPA_DEMO_LOGIN", "VJEPA_DEMO_AUTH"
PROXIES_VARIABLE = "VJEPA_DEMO_PROXIES"
PORT_VARIABLE = "GRADIO_SERVER_PORT"
SPACE_VARIABLE = "SPACE_ID"
Part = Literal["training", "rating", "batch"]  # of the page and the API, that can be switched off or need a login


@dataclass(frozen=True)
class Limits:
    """What visitors may bring and use; infinity where nothing limits them.

    Of a file: bytes of an upload; seconds, frames and megapixels (millions of pixels in one frame) of a video; rows of
    a table; files in a zip. Of one visitor: bytes on the disk, requests a minute, jobs that wait or run, and of a model
    that a visitor brings the seconds in which it encodes a clip. `total_bytes` are on the disk, and `models_bytes` in
    memory for the models that visitors bring or train, of all of them together.
    """

    upload_bytes: float = MAX_UPLOAD_BYTES
    video_seconds: float = math.inf
    video_frames: float = math.inf
    video_megapixels: float = math.inf
    table_rows: float = math.inf
    zip_files: float = VIDEO_ZIP_LIMITS.entries
    visitor_bytes: float = math.inf
    total_bytes: float = math.inf
    models_bytes: float = math.inf
    visitor_requests: float = math.inf
    visitor_jobs: float = math.inf
    clip_seconds: float = math.inf


HOME_LIMITS = Limits()
# A Space has 50 GB of disk, and two slow cores where it costs nothing.
SPACE_LIMITS = Limits(
    upload_bytes=512 * 2**20,
    video_seconds=600,
    video_frames=36_000,
    video_megapixels=34,  # 8K
    table_rows=10_000,
    zip_files=10_000,
    visitor_bytes=4 * GIGABYTE,
    total_bytes=20 * GIGABYTE,
    models_bytes=4 * GIGABYTE,
    visitor_requests=600,
    visitor_jobs=8,
    clip_seconds=120,
)


def is_a_space() -> bool:
    """Whether this is a Hugging Face Space: a page for strangers, behind one proxy."""
    return bool(os.environ.get(SPACE_VARIABLE))


def limits() -> Limits:
    """The limits of this machine: `SPACE_LIMITS` or `HOME_LIMITS`, but for what `LIMIT_VARIABLES` say; 0 is no limit.

    Raises:
        ValueError: if a setting is not a number from 0 up.
    """
    given: dict[str, float] = {}
    defaults = vars(SPACE_LIMITS if is_a_space() else HOME_LIMITS)
    for variable, (name, default) in zip(LIMIT_VARIABLES, defaults.items(), strict=True):
        given[name] = default
        if text := os.environ.get(variable):
            number = _number(text)
            if not 0 <= number < math.inf:
                raise ValueError(f"{variable} is {text!r}; a number from 0 up was expected, where 0 is no limit")
            given[name] = number * (GIGABYTE if name.endswith("_bytes") else 1) or math.inf
    return Limits(**given)


def check_settings() -> None:
    """
    Raises:
        ValueError: if a setting of the environment that any command reads is not what was expected.
    """
    for read in (limits, decode_seconds, decode_bytes, feature_cache_bytes, num_proxies, page_login, page_port):
        read()
    for variable in (OFF_VARIABLE, LOGIN_VARIABLE):
        parts_of(variable)


def page_port() -> int | None:
    """The port of the page that $GRADIO_SERVER_PORT names; None where it is not set, and Gradio looks for a free one.

    Raises:
        ValueError: if the setting is not the number of a port.
    """
    text = os.environ.get(PORT_VARIABLE)
    if text is None:
        return None
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise ValueError(f"{PORT_VARIABLE} is {text!r}; a whole number from 1 to 65535 was expected")
    return int(text)


def num_proxies() -> int:
    """How many proxies stand before the page, each of which adds an address to X-Forwarded-For: $VJEPA_DEMO_PROXIES, by
    default 1 on a Space and none elsewhere.

    Raises:
        ValueError: if the setting is not a whole number.
    """
    text = os.environ.get(PROXIES_VARIABLE) or str(int(is_a_space()))
    if not text.isdecimal():
        raise ValueError(f"{PROXIES_VARIABLE} is {text!r}; a whole number from 0 up was expected")
    return int(text)


def parts_of(variable: str) -> frozenset[Part]:
    """The parts that the environment's `variable` names, such as "training,batch".

    Raises:
        ValueError: if one of the names is none of `Part`.
    """
    names = {name.strip() for name in os.environ.get(variable, "").split(",")} - {""}
    if unknown := names - set(get_args(Part)):
        raise ValueError(f"{variable} names {min(unknown)!r}; {', '.join(get_args(Part))} were expected, with commas")
    return frozenset(part for part in get_args(Part) if part in names)


def page_login() -> tuple[str, str] | None:
    """User and password that the whole page asks for: $VJEPA_DEMO_AUTH, such as `ann:secret`; None where it is not set.

    Raises:
        ValueError: if one of the two is missing.
    """
    text = os.environ.get(AUTH_VARIABLE)
    if not text:
        return None
    user, _, password = text.partition(":")
    if not user.strip() or not password:
        raise ValueError(f"{AUTH_VARIABLE} is not of the form user:password")  # which is not repeated here
    return user.strip(), password


def on_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space: its package `spaces` lends a GPU for seconds at a time."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as `spaces` reads it


def wait_passively() -> None:
    """Let the threads of torch's OpenMP sleep while they wait for each other. Call it before torch is imported.

    By default they spin: on two cores shared with other work that made `demo` 20 to 40 times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def acr_word(score: float) -> str:
    """The ACR word nearest to `score`: 1 Bad, 2 Poor, 3 Fair, 4 Good, 5 Excellent."""
    nearest = int(min(max(score, SCORE_MIN), SCORE_MAX) - SCORE_MIN + 0.5)
    return ACR_WORDS[nearest]


@dataclass(frozen=True)
class View:
    """A view of a video: which of its frames, and what of each becomes the encoder's `crop_size` square.

    Frames: `num_frames` of them (None: as many as the `ClipConfig` says) spread evenly over the whole clip; with a
    `window`, in pairs of neighbours spread over that many consecutive frames around its middle.

    `framing` "crop": shortest edge resized to `edge` (None: the `ClipConfig`'s `resize_edge`), then the centre kept.
    "squeeze": the whole frame, whatever its shape. "fragments": `grid` x `grid` pieces at the frame's own resolution,
    spread over all of it and put together (FAST-VQA, ECCV 2022); a frame with a shortest edge over `edge` is shrunk to
    it first, one smaller than the crop is enlarged.

    With `differences`, for which it needs a `window`, it shows what changes from frame to frame of that
    (`sampling.differences`).
    """

    num_frames: int | None = None
    window: int | None = None
    framing: Framing = "crop"
    edge: int | None = None
    grid: int = 8
    differences: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for fields that no view can have: they may come from a file."""
        check(vars(self), VIEW)
        if self.window is not None and (self.num_frames is None or self.num_frames > self.window):
            raise ValueError(f"num_frames is {self.num_frames!r}; the window holds {self.window}")
        if self.differences and self.window is None:
            raise ValueError("differences is True; a view of frame differences needs a window of frames in a row")

    @property
    def title(self) -> str:
        """The view in words, for a person."""
        most = f" (of {self.edge} lines at most)" if self.edge else ""
        what = {
            "crop": "the centre of the picture",
            "squeeze": "the whole picture, squeezed to a square",
            "fragments": f"small pieces at full resolution{most}, side by side",
        }[self.framing]
        what = f"frame differences: {what}" if self.differences else what
        if self.window is None:
            return f"{what}, over the whole clip"
        return (
            f"{what}, {'' if self.num_frames == self.window else f'{self.num_frames} of '}{self.window} frames in a row"
        )


SEED_VIEWS = (View(),)  # uniform in time, the centre of the shrunken frame
# Views that a first head can be trained with, by name; the first is the seed's.
NAMED_VIEWS = {
    "centre": View(),
    "whole": View(num_frames=16, framing="squeeze"),
    "dense": View(num_frames=16, window=16),
    "native": View(num_frames=4, window=16, framing="fragments", edge=1080),
}
# The views of `demo`: the whole scene; motion from frame to frame; blur, noise and compression at up to 720 lines; what
# changes from frame to frame, in pieces of the picture.
DEMO_VIEWS = (
    View(num_frames=8, framing="squeeze"),
    View(num_frames=16, window=16, edge=192),
    View(num_frames=4, window=16, framing="fragments", edge=720, grid=8),
    View(num_frames=16, window=16, framing="fragments", edge=360, grid=4, differences=True),
)
DEMO_LOOKS = 2


@dataclass(frozen=True)
class ClipConfig:
    """How a video becomes the pixels a model sees.

    Each of `views` gives a square of `crop_size` pixels for each of its frames, scaled to 0..1 and normalised with
    `image_mean` and `image_std` per RGB channel. The default is one view of `num_frames` frames: the same steps, with
    the same constants, as transformers' `VJEPA2VideoProcessor`.

    A look is all views once. With several, look k of n has its windows around (k + 0.5) / n of the clip; the frames of
    a view of the whole clip lie as far into each of the equal parts that they stand for, so that the looks interleave;
    and every second look is mirrored left-right.
    """

    num_frames: int = 64
    crop_size: int = 256
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    views: tuple[View, ...] = SEED_VIEWS
    looks: int = 1

    @property
    def places(self) -> tuple[float, ...]:
        """Where each look is centred, as a share of the clip."""
        return tuple((look + 0.5) / self.looks for look in range(self.looks))

    @property
    def all_views(self) -> tuple[tuple[View, float], ...]:
        """The views of all looks, look after look, each with the place of its look."""
        return tuple((view, place) for place in self.places for view in self.views)

    @property
    def resize_edge(self) -> int:
        """Pixels of the shortest edge before cropping (VJEPA2VideoProcessor.__init__)."""
        return int(self.crop_size * 256 / 224)


@dataclass(frozen=True)
class LossConfig:
    """Weights and constants of the training loss (QualiVision, src/utils/training.py); labels and errors are in MOS.

    The three weights add up three means. `smooth_l1_beta` is where the smooth-L1 loss turns from a parabola into a
    line. A pair of clips whose labels differ by more than `ranking_threshold` should be predicted at least
    `ranking_margin` apart. The scale-aware squared error counts `extreme_weight` times where the label is below
    `low_mos` or above `high_mos`. `pair_scale` is the scale of the logistic noise with which people tell two clips
    apart: that of the difference of two ratings, each with a standard deviation of about 0.65.
    """

    smooth_l1_weight: float = 0.7
    ranking_weight: float = 0.3
    scale_aware_weight: float = 0.1
    smooth_l1_beta: float = 0.1
    ranking_margin: float = 0.2
    ranking_threshold: float = 0.1
    low_mos: float = 2.5
    high_mos: float = 4.0
    extreme_weight: float = 1.5
    pair_scale: float = 0.5


@dataclass(frozen=True)
class ModelConfig:
    """Which encoders a model is made of and how their outputs are joined.

    An encoder is a Hub id, or a folder in the Hub's layout; one that begins with `./` lies inside the checkpoint.
    `num_frames` None means as many as the video encoder was trained with. The pooled features of each of `views` stand
    side by side, in this order, before the head. The scores of a clip are the mean of those of its `looks` (see
    `ClipConfig`).
    """

    video_encoder: str = "facebook/vjepa2-vitg-fpc64-384-ssv2"
    text_encoder: str = "BAAI/bge-large-en-v1.5"
    freeze_ratio: float = FREEZE_RATIO
    pooling: Pooling = "mean"
    head_hidden: int = HEAD_HIDDEN
    num_frames: int | None = None
    video_encoder_revision: str | None = None
    text_encoder_revision: str | None = None
    views: tuple[View, ...] = SEED_VIEWS
    looks: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for fields that no model can have: they may come from a file."""
        if not isinstance(self.views, list | tuple) or not 1 <= len(self.views) <= MAX_VIEWS:
            raise ValueError(f"views is {shown(self.views)}; a list of one to {MAX_VIEWS} views was expected")
        try:  # JSON knows only lists and objects
            views = tuple(view if isinstance(view, View) else View(**view) for view in self.views)
        except TypeError as error:
            raise ValueError(f"views is {shown(self.views)}; the fields of a view were expected: {error}") from error
        object.__setattr__(self, "views", views)
        check(vars(self), MODEL)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a checkpoint keeps them. What older versions of this program do not know is left out where it
        changes nothing, so that they read the checkpoint."""
        fields = asdict(self)
        if self.looks == 1:
            del fields["looks"]
        for view in fields["views"]:
            if not view["differences"]:
                del view["differences"]
        return fields


def named_views(names: str) -> tuple[View, ...]:
    """The views that `names` stands for, such as "centre,native".

    Raises:
        ValueError: if a name is none of `NAMED_VIEWS`, or stands there twice.
    """
    chosen = [name.strip() for name in names.split(",")]
    if set(chosen) - set(NAMED_VIEWS) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"views is {names!r}; one or more of {', '.join(NAMED_VIEWS)} was expected, each once, between commas"
        )
    return tuple(NAMED_VIEWS[name] for name in chosen)


@dataclass(frozen=True)
class ModelPreset:
    """A model that can be chosen by name: what it is made of, and the checkpoint that holds its trained head; None
    where there is no folder for one."""

    name: str
    summary: str
    config: ModelConfig
    checkpoint: Path | None

    @property
    def refusal(self) -> str | None:
        """Why this model cannot score on this machine, and what to do; None where its head is trained."""
        if self.checkpoint and os.path.isfile(self.checkpoint / CHECKPOINT_CONFIG_FILE):  # noqa: PTH113 - never raises
            return None
        if on_zero_gpu():
            return (
                f"{self.name} cannot score on this Space: no trained head exists for it here, and ZeroGPU trains none. "
                "On a machine with a GPU run python -m vjepa_demo train --bootstrap --model "
                f"{self.name} --out head, then hf upload OWNER/NAME head; set {MODEL_VARIABLE}=OWNER/NAME in the "
                "settings of this Space; choose demo meanwhile"
            )
        first = "Train" if self.checkpoint else f"This user has no home folder: set {CHECKPOINTS_VARIABLE}, and train"
        return (
            f"{self.name} cannot score yet: {self.config.video_encoder} is only an encoder, and no trained head exists "
            f"for it here. {first} its first head: python -m vjepa_demo train --bootstrap --model {self.name}; "
            "choose demo meanwhile"
        )


def _folder(variable: str, name: str) -> Path | None:
    """The folder that the environment's `variable` names, or `name` in the user's cache; None where neither is known.

    A container that runs as a user id of its own may have neither $HOME nor an entry in its list of users.
    """
    try:
        return Path(os.environ.get(variable) or Path.home() / ".cache" / "vjepa_demo" / name).expanduser().absolute()
    except RuntimeError:
        return None


def no_folder(variable: str) -> str:
    """What to do where `_folder` gives None."""
    return f"this user has no home folder; set {variable} to a folder"


def checkpoint_folder() -> Path | None:
    """The folder of first heads trained on this machine: $VJEPA_DEMO_CHECKPOINTS, or one in the user's cache."""
    return _folder(CHECKPOINTS_VARIABLE, "checkpoints")


def dataset_folder() -> Path | None:
    """The folder of data sets that the command line fetched: $VJEPA_DEMO_DATASETS, or one in the user's cache."""
    return _folder(DATASETS_VARIABLE, "datasets")


def studies_folder() -> Path | None:
    """The folder of the studies that people rate on the page: $VJEPA_DEMO_STUDIES, or one in the user's cache."""
    return _folder(STUDIES_VARIABLE, "studies")


def feature_cache_folder() -> Path | None:
    """The folder of the feature cache of all processes: $VJEPA_DEMO_CACHE, or one in the user's cache."""
    return _folder(CACHE_VARIABLE, "features")


def feature_cache_bytes() -> int:
    """How much of the disk they may take: $VJEPA_DEMO_CACHE_GB, where 0 is none; by default 20 GB, or a fifth of the
    free disk where that is less. What the cache holds already counts as free: else it would shrink as it fills. Without
    a folder, 0.

    Raises:
        ValueError: if the setting is not a number of gigabytes.
    """
    setting, folder = _gigabytes(CACHE_GB_VARIABLE), feature_cache_folder()
    if setting is not None:
        return setting if folder else 0
    if folder is None:
        return 0
    existing = next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110 - never raises
    held = 0
    with suppress(OSError):  # a folder that cannot be
        for path in folder.glob("*"):
            with suppress(FileNotFoundError):  # another process deleted it meanwhile
                held += path.stat().st_size
    return min(MAX_CACHE_BYTES, int(CACHE_SHARE * (shutil.disk_usage(existing).free + held)))


def decode_seconds() -> float:
    """How long decoding one file may take: $VJEPA_DEMO_DECODE_SECONDS, by default half an hour.

    Raises:
        ValueError: if the setting is not a number of seconds above 0.
    """
    setting = os.environ.get(DECODE_SECONDS_VARIABLE)
    seconds = _number(setting) if setting else DECODE_SECONDS
    if not 0 < seconds < math.inf:
        raise ValueError(f"{DECODE_SECONDS_VARIABLE} is {setting!r}; a number of seconds above 0 was expected")
    return seconds


def decode_bytes() -> int:
    """How much memory decoding one file may take, beside what the libraries take: $VJEPA_DEMO_DECODE_GB in gigabytes.

    Raises:
        ValueError: if the setting is not a number of gigabytes.
    """
    setting = _gigabytes(DECODE_GB_VARIABLE)
    return DECODE_BYTES if setting is None else setting


def decode_for_visitors() -> None:
    """Take the shorter time limit of a page for this process, unless the environment names one."""
    os.environ.setdefault(DECODE_SECONDS_VARIABLE, f"{PAGE_DECODE_SECONDS:g}")


def _number(text: str) -> float:
    """The number that a setting says; not a number where it says none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _gigabytes(variable: str) -> int | None:
    """The bytes that the environment's `variable`, such as "0.5", stands for; None where it is not set.

    Raises:
        ValueError: if it is not a number of gigabytes.
    """
    text = os.environ.get(variable)
    if not text:
        return None
    value = _number(text)
    if not 0 <= value < math.inf:
        raise ValueError(f"{variable} is {text!r}; a number of gigabytes from 0 up was expected")
    return int(value * GIGABYTE)


def model_presets() -> dict[str, ModelPreset]:
    """The models a person can choose by name, smallest first."""
    local = ModelConfig(video_encoder="./video_encoder", text_encoder="./text_encoder")
    vitl = ModelConfig(video_encoder="facebook/vjepa2-vitl-fpc64-256")
    folder = checkpoint_folder()
    presets = (
        ModelPreset("demo", "small, runs on every machine", local, ASSETS / "demo"),
        ModelPreset("vitl", "ViT-L + BGE-Large, a small GPU", vitl, folder and folder / "vitl"),
        ModelPreset("vitg", "ViT-g + BGE-Large, a large GPU", ModelConfig(), folder and folder / "vitg"),
    )
    return {preset.name: preset for preset in presets}


# A call of a shared GPU, before one was measured. Half an RTX PRO 6000 Blackwell should do some 2e14 operations of
# bfloat16 a second in large products. A call that takes longer than declared is ended.
SHARED_GPU_RATE = 1e14  # floating point operations a second
SHARED_GPU_START_SECONDS = 4.0  # a process is forked and CUDA begins in it
SHARED_GPU_READ_RATE = 1e9  # bytes a second of the encoders, which the process reads from the disk
SHARED_GPU_CALL_SECONDS = 20  # that a call of several clips declares at most
SHARED_GPU_CALL_BYTES = 256 * 2**20  # of the frames that go to the process in one call

LABEL_RANGES = ((1, 5), (1, 4), (0, 1), (0, 5), (1, 10), (0, 10), (0, 100))  # ranges that a person can declare
# Frames of a clip that an encoder without a trained head gets to see where there is no GPU. A quarter of the 64 that
# it was trained with costs a seventh of the time (attention grows with the square of the tokens): seconds a clip with
# `vitl`, not minutes. What a head was trained with it keeps, on every device.
CPU_FRAMES = 16
BOOTSTRAP_CLIPS = 400  # procedural clips that a first head learns from
BOOTSTRAP_MODEL = "vitg"  # gets a first head by itself where there is a GPU, and is the default there afterwards
BOOTSTRAP_VARIABLE = "VJEPA_DEMO_BOOTSTRAP"  # environment variable: another model, or 0 for none
Scope = Literal["head", "top"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is fine-tuned. Learning rates are the base rate times `LEARNING_RATE_FACTORS`.

    `scope` "head" trains the head on pooled features; "top" also the encoder's layers above the freeze line, and the
    text encoder where `train_text` is set. `patience` epochs without a better validation score end a run early.
    """

    scope: Scope = "head"
    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    gradient_clip: float = 1.0
    accumulate: int = 1
    patience: int = 8
    validation_fraction: float = 0.2
    train_text: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a whole number from 1 up")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}; it lies between 0 and 1, such as 0.0005")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction is {self.validation_fraction}; it is a share from 0 to below 1")

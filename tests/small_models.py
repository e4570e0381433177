"""Small checkpoints in the exact layout of the Hub, and real FFmpeg for videos of any kind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

from vjepa_demo.config import SEED_VIEWS, ModelConfig, View
from vjepa_demo.media.video import write_video
from vjepa_demo.model.checkpoint import save_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.schema import TrainedOn

FRAMES, CROP = 4, 32
TRAINED_ON = TrainedOn("human", 12, "twelve clips of a test", {"Traditional": 0.5}, 3, vquala_score=0.5)


def small_vjepa_config(**settings) -> VJEPA2Config:
    """A V-JEPA 2 of the real classes that runs in a millisecond: 4 frames of 32 x 32, 4 layers of width 24."""
    return VJEPA2Config(
        **{
            "hidden_size": 24,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "crop_size": CROP,
            "frames_per_clip": FRAMES,
            "num_pooler_layers": 1,
            "pred_hidden_size": 8,
            "pred_num_attention_heads": 1,
            "pred_num_hidden_layers": 1,
            "initializer_range": 0.2,
            **settings,
        }
    )


def write_processor(folder: Path) -> None:
    """The file of VJEPA2VideoProcessor, with the fields that facebook/vjepa2-* has on the Hub."""
    settings = {
        "crop_size": {"height": CROP, "width": CROP},
        "data_format": "channels_first",
        "default_to_square": False,
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": int(CROP * 256 / 224)},
        "video_processor_type": "VJEPA2VideoProcessor",
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))


def write_text_encoder(folder: Path) -> Path:
    """A BERT with a letter vocabulary, as BGE lies on the Hub (the pooler's weights are in the file too)."""
    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64})
    )
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    torch.manual_seed(1)
    BertModel(config).save_pretrained(folder)
    return folder


def write_video_encoder(folder: Path, cls: type = VJEPA2Model) -> Path:
    """A random encoder in the layout of the base (`VJEPA2Model`) or ssv2 (`...ForVideoClassification`) repositories."""
    torch.manual_seed(0)
    config = small_vjepa_config(num_labels=3) if cls is VJEPA2ForVideoClassification else small_vjepa_config()
    cls(config).save_pretrained(folder)
    write_processor(folder)
    return folder


def write_checkpoint(folder: Path, views: tuple[View, ...] = SEED_VIEWS, looks: int = 1) -> Path:
    """A checkpoint of this program that holds its own encoders, as assets/demo does."""
    encoders = write_video_encoder(folder / "video_encoder"), write_text_encoder(folder / "text_encoder")
    torch.manual_seed(2)
    model = VJEPAModel(*map(str, encoders), device="cpu", head_hidden=8, views=views, looks=looks)
    with torch.no_grad():
        model.head.net[-1].bias.fill_(3.0)  # the middle of the scale: no score is cut to it
    config = ModelConfig("./video_encoder", "./text_encoder", head_hidden=8, views=views, looks=looks)
    save_checkpoint(model, folder, trained_on=TRAINED_ON, model_config=config)
    return folder


def write_greys(folder: Path, count: int) -> list[Path]:
    """Plain greys of `FRAMES` frames, the brighter the later: 0.mp4, 1.mp4 ..."""
    paths = [folder / f"{index}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        frames = torch.full((FRAMES, 3, 40, 40), 20 + 224 * index // count, dtype=torch.uint8)
        write_video(path, frames, frames_per_second=8, crf=1)
    return paths


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)

"""The script that made the demo model: repeatable, resumable, and what it writes can be loaded."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from vjepa_demo.checkpoint import load_checkpoint, read_checkpoint
from vjepa_demo.config import DIMENSIONS, PROJECT_ROOT
from vjepa_demo.video import pixel_values

TINY = {"steps": 4, "num_scenes": 2, "scenes_per_batch": 1, "warmup_steps": 1, "num_layers": 1, "num_held_out": 3}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script as a module, with small renderings, on one thread as it runs itself."""
    path = PROJECT_ROOT / "scripts" / "train_demo_model.py"
    spec = importlib.util.spec_from_file_location("train_demo_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.RENDER_SIZES = (64,)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def trained(script: ModuleType, clips: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run of four steps that was never interrupted."""
    trainer = script.Trainer(tmp_path_factory.mktemp("run"), clips, script.Settings(**TINY))
    trainer.reports = list(trainer.run(num_workers=0))
    return trainer


def test_a_batch_is_the_same_whenever_it_is_drawn(script: ModuleType, clips: Path) -> None:
    settings = script.Settings(**TINY)
    first, again = script.Batches(settings, clips)[3], script.Batches(settings, clips, first_step=2)[1]
    assert torch.equal(first.frames, again.frames)
    assert first.captions == again.captions
    assert torch.equal(first.labels, again.labels)


def test_a_batch_shows_each_scene_twice(script: ModuleType, clips: Path) -> None:
    batch = script.Batches(script.Settings(**{**TINY, "scenes_per_batch": 2}), clips)[0]
    assert batch.frames.shape == (4, 16, 3, 128, 128)
    assert batch.frames.dtype == torch.uint8
    assert torch.equal(batch.facts[0::2], batch.facts[1::2])
    assert len(batch.captions) == 4
    assert batch.labels.shape == (4, len(DIMENSIONS))


def test_an_epoch_goes_through_every_scene_once(script: ModuleType, clips: Path) -> None:
    settings = script.Settings(num_scenes=12, scenes_per_batch=4)
    batches = script.Batches(settings, clips)
    epochs = [[seed for step in steps for seed in batches.scenes_of(step)] for steps in ((0, 1, 2), (3, 4, 5))]
    assert sorted(epochs[0]) == list(range(12))
    assert sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_held_out_clips_come_from_seeds_that_training_never_draws(script: ModuleType) -> None:
    highest = script.Settings().num_scenes - 1
    assert highest < script.HELD_OUT_SEED


def test_a_resumed_run_equals_an_uninterrupted_one(script, clips, trained, tmp_path: Path) -> None:
    settings = script.Settings(**TINY)
    interrupted = script.Trainer(tmp_path, clips, settings).run(num_workers=0, save_every=2)
    steps = [next(interrupted)["step"] for _ in range(3)]
    interrupted.close()
    resumed = script.Trainer(tmp_path, clips, settings)
    assert (steps[-1], resumed.step) == (3, 2)
    reports = list(resumed.run(num_workers=0))
    assert [r["loss"] for r in reports] == [r["loss"] for r in trained.reports[2:]]
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_run_with_other_settings_is_not_resumed(script: ModuleType, clips: Path, trained) -> None:
    with pytest.raises(SystemExit, match="use another --run folder"):
        script.Trainer(trained.folder, clips, script.Settings(**{**TINY, "seed": 1}))


def test_training_on_one_batch_learns_it(script: ModuleType, clips: Path, tmp_path: Path) -> None:
    trainer = script.Trainer(tmp_path, clips, script.Settings(**TINY))
    batch = script.Batches(trainer.settings, clips)[0]
    losses = [trainer.train_on(batch)["loss"] for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_patch_embedding_stays_as_it_was_set(script: ModuleType, trained) -> None:
    weights = load_file(trained.folder / "video_encoder" / "model.safetensors")
    set_weight = weights["encoder.embeddings.patch_embeddings.proj.weight"]
    assert torch.equal(trained.model.venc.embeddings.patch_embeddings.proj.weight, set_weight)


def test_filters_are_a_basis_and_all_but_the_mean_ignore_flat_patches(script: ModuleType) -> None:
    filters = script.dct_filters()
    assert filters.shape == (192, 3, 2, 16, 16)
    assert torch.linalg.matrix_rank(filters.flatten(1)) == 192
    assert (filters.sum(dim=(1, 2, 3, 4)).abs() > 1e-2).sum() == 1


def test_unknown_words_fall_into_known_pieces(trained) -> None:
    tokenizer = trained.model.tokenizer
    tokens = tokenizer.tokenize("A Crimson zeppelin rolls left, 4k!")
    assert tokenizer.unk_token not in tokens
    assert {"crimson", "z", "##e", "left", ",", "4k", "!"} <= set(tokens)


def test_the_export_is_a_small_loadable_checkpoint_that_scores_alike(script, trained, tmp_path: Path) -> None:
    trained_on = script.export(trained, tmp_path)
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "config.json", "model.safetensors", "README.md",
        "video_encoder/config.json", "video_encoder/model.safetensors",
        "video_encoder/video_preprocessor_config.json",
        "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/tokenizer.json",
    } <= set(files)  # fmt: skip
    for path in files.values():
        assert path.stat().st_size <= 10_000_000
        if path.suffix == ".safetensors":
            assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    exported = load_checkpoint(read_checkpoint(tmp_path), device="cpu")
    assert read_checkpoint(tmp_path).trained_on == trained_on
    assert exported.clip_config == script.CLIP
    batch = script.Batches(trained.settings, trained.clips)[0]
    pixels = torch.stack([pixel_values(frames, script.CLIP) for frames in batch.frames])
    scores = []
    for model in (trained.model.eval(), exported):
        features = model.extract_features(pixels, batch.captions)
        scores.append(model.predict_with_features(*features.values()))
    assert torch.allclose(*scores, atol=0.02)


def test_the_command_line_trains_exports_and_evaluates(script, clips, tmp_path: Path, caplog) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {**TINY, "steps": 2}.items()]
    folders = [f"--run={tmp_path / 'run'}", f"--clips={clips}", f"--out={tmp_path / 'out'}", "--workers=0"]
    with caplog.at_level("INFO"):
        script.main([*folders, *options])
        script.main(["--evaluate", str(tmp_path / "out"), "--num-held-out=3"])
    results = [record.getMessage() for record in caplog.records if "held-out" in record.getMessage()]
    assert len(results) == 2
    assert results[0] == results[1]
    assert read_checkpoint(tmp_path / "out").trained_on.num_held_out == 3

"""The package that trains the demo model: repeatable, resumable, and its checkpoints can be loaded."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.optim import _muon
from transformers import VJEPA2Model

from scripts.demo_model import batches as batching
from scripts.demo_model import cli, network, training
from scripts.demo_model import samples as drawing
from scripts.demo_model.batches import Batches, Settings
from scripts.demo_model.export import evaluate, export
from scripts.demo_model.training import Trainer
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.procedural.clips import PHRASES, caption_words
from vjepa_demo.procedural.faults import Degradation, distortion
from vjepa_demo.procedural.scenes import Scene

TINY = {"num_scenes": 2, "num_sketches": 3, "scenes_per_batch": 1, "sketches_per_batch": 2, "num_layers": 1}
SETTINGS = {**TINY, "steps": 4, "warmup_steps": 1, "vocabulary_size": 800, "num_held_out": 3}


AUTOCAST = torch.autocast
SEED = 7  # of a scene in colour, in which something moves


@pytest.fixture(scope="module", autouse=True)
def small_and_on_one_thread() -> Iterator[None]:
    """Small renderings, a vocabulary that is counted once, and one thread, as the command has.

    bfloat16 is slow on most CPUs and took four fifths of a step. So this process trains in float32, and Muon makes
    its matrices orthogonal in one round instead of five. The two processes below do all as the command does.
    """
    threads, patch = torch.get_num_threads(), pytest.MonkeyPatch()
    orthogonal = _muon._zeropower_via_newtonschulz
    patch.setattr(torch, "autocast", lambda kind, *_, **__: AUTOCAST(kind, enabled=False))
    patch.setattr(
        _muon, "_zeropower_via_newtonschulz", lambda matrix, factors, _, eps: orthogonal(matrix, factors, 1, eps)
    )
    patch.setattr(drawing, "PHOTOGRAPHS", Path("/nowhere"))
    patch.setattr(drawing, "SIZES", ((132, 160),))
    patch.setattr(drawing, "SKETCH_SIZES", ((48, 64),))
    patch.setattr(network, "vocabulary", lru_cache(network.vocabulary))
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    patch.undo()


@pytest.fixture(scope="module")
def drawn() -> tuple:
    """A scene in which something moves, its variants and their views."""
    return drawing.scene_views(SEED)


@pytest.fixture(scope="module")
def moving(drawn) -> list[torch.Tensor]:
    """The views of the variant of that scene in which nothing is wrong."""
    return batching._by_view(drawn[2][0])


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="module")
def trained(samples: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run of four steps that was never interrupted."""
    trainer = Trainer(tmp_path_factory.mktemp("run"), samples, Settings(**SETTINGS))
    trainer.reports = list(trainer.run())
    return trainer


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of that run."""
    folder = tmp_path_factory.mktemp("exported")
    export(trained, folder)
    return folder


def test_a_sample_drawn_again_is_the_same(drawn) -> None:
    (scene, variants, views), (other, again, same) = drawn, drawing.scene_views(SEED)
    assert np.array_equal(views, same)
    assert variants == again
    assert views.shape == (5, 44, 3, 128, 128)
    assert scene == other
    assert variants[1].degradations.keys() == variants[2].degradations.keys() != set()


def test_a_twin_shows_the_same_clip_otherwise_and_costs_the_same(drawn) -> None:
    _, (*variants, twin), views = drawn
    assert (twin.degradations, twin.costs) == (variants[twin.twin_of].degradations, variants[twin.twin_of].costs)
    shown = views[4].reshape(44, -1).mean(axis=1)  # how bright each frame is
    apart = [abs(shown - each.reshape(44, -1).mean(axis=1)).mean() for each in views[:4]]
    assert int(np.argmin(apart)) == twin.twin_of
    assert not np.array_equal(views[4], views[twin.twin_of])


def test_a_twin_does_not_stand_still_at_the_ends_of_a_clip(monkeypatch) -> None:
    monkeypatch.setattr(drawing, "RATES", (8,))
    monkeypatch.setattr(drawing, "draw_faults", lambda rng: [()] * 4)
    for seed in range(20, 26):
        scene, _, views = drawing.scene_views(seed)
        own, twins = (abs(np.diff(views[row][8:24].astype(int), axis=0)).reshape(15, -1).any(axis=1) for row in (0, 4))
        assert twins.sum() >= own.sum() - 2, (scene, "a still scene is still in both")


def test_a_difference_between_twins_counts_more() -> None:
    scores, labels = torch.full((4, 5), 3.0), torch.full((4, 5), 3.0)
    scores[0], labels[1] = 4.0, 2.0
    twins = [torch.tensor(which) for which in ([False, False], [False, True], [True, False])]
    none, other, both = (float(training.score_loss(scores, labels, each)) for each in twins)
    assert none == other
    apart = both - none
    assert apart == pytest.approx((training.TWIN_WEIGHT - 1) * 0.5 * 0.0, abs=1e-6), "scores and labels differ alike"
    labels[1] = 3.0
    none, both = (float(training.score_loss(scores, labels, each)) for each in (twins[0], twins[2]))
    assert both - none == pytest.approx((training.TWIN_WEIGHT - 1) * 0.5 * 0.75 * 6 / 10, abs=1e-6)


def test_twins_are_one_clip_with_one_fault_and_labels_of_its_own(samples: Path) -> None:
    batches = Batches(Settings(**SETTINGS), samples)
    drawn = [batches._two_variants(0, np.random.default_rng(seed)) for seed in range(12)]
    assert 1 <= sum(is_twin for _, is_twin in drawn) <= 8
    for (one, other), is_twin in drawn:
        if is_twin:
            assert one["losses"] == pytest.approx(other["losses"], abs=0.2)
            assert [bool(cost) for cost in one["losses"]] == [bool(cost) for cost in other["losses"]]


def test_some_captions_are_the_neutral_prompt_which_is_true_of_every_clip() -> None:
    scene, frames = Scene("red", "ball", "grass", "left", "in", look=1), torch.zeros(8, 3, 4, 4, dtype=torch.uint8)
    seen = [batching._seen(scene, {}, [frames], np.random.default_rng(n), False, False) for n in range(60)]
    neutral = [each for each in seen if each["caption"] == "a video"]
    assert 4 <= len(neutral) <= 24
    for each in neutral:
        assert each["labels"][DIMENSIONS.index("Alignment")] == 5
        assert set(each["told"]) == {-1}


def test_a_model_with_fewer_views_starts_a_run_and_scores_as_before(trained, tmp_path: Path) -> None:
    folder = trained.folder
    before = network.build_model(folder, seed=1, device="cpu")
    fewer = VJEPAModel(str(folder / "video_encoder"), str(folder / "text_encoder"), 0.0, "cpu", head_hidden=512,
                       views=drawing.CLIP.views[:3])  # fmt: skip
    weights = training.with_views(fewer, before)
    before.load_state_dict(weights)
    linear = before.head.net[1].weight
    assert not linear[:, fewer.video_dim : before.video_dim].any()
    assert torch.equal(linear[:, : fewer.video_dim], fewer.head.net[1].weight[:, : fewer.video_dim])
    assert torch.equal(linear[:, before.video_dim :], fewer.head.net[1].weight[:, fewer.video_dim :])
    evaluation = evaluate([fewer.eval(), before.eval()], trained.samples, 2)
    assert evaluation.scores.shape == (2, 2, 5)


def test_half_of_the_scenes_play_over_a_photograph_that_is_large_enough_and_not_held_out(tmp_path, monkeypatch) -> None:
    table = ["file,package,version,author,licence,held_out"]
    for number, (name, lines) in enumerate((("seen", 180), ("small", 140), ("held", 180))):
        picture = np.full((lines, 220, 3), 40 * number + 10, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        table.append(f"{name}.png,p,1,Ann,CC0-1.0,{name == 'held'}")
    (tmp_path / "photographs.csv").write_text("\n".join(table), encoding="utf-8")
    monkeypatch.setattr(drawing, "PHOTOGRAPHS", tmp_path)
    for held_out, level in ((False, 10), (True, 90)):
        drawn = [drawing.draw_background(np.random.default_rng(n), (132, 160), held_out=held_out) for n in range(40)]
        pictures = [picture for scene, picture in drawn if scene.background == "photograph"]
        assert 10 < len(pictures) < 30
        assert {int(picture[0, 0, 0]) for picture in pictures} == {level}
        assert all(picture is None for scene, picture in drawn if scene.background != "photograph")
    scene = next(scene for scene, _ in drawn if scene.shape == "nothing")
    seen = batching._seen(
        scene, {}, [torch.zeros(8, 3, 4, 4, dtype=torch.uint8)], np.random.default_rng(0), False, False
    )
    assert seen["facts"][:4] == [-1, -1, -1, -1]
    assert seen["facts"][4] >= 0, "the camera"


def test_a_batch_is_the_same_whenever_it_is_drawn(samples: Path) -> None:
    settings = Settings(**SETTINGS)
    first, again = (Batches(settings, samples)[3] for _ in range(2))
    assert all(torch.equal(view, same) for view, same in zip(first.views, again.views, strict=True))
    assert first.captions == again.captions
    assert torch.equal(first.labels, again.labels)


def test_a_batch_shows_each_scene_twice_and_then_the_sketches(samples: Path) -> None:
    batch = Batches(Settings(**{**SETTINGS, "scenes_per_batch": 2}), samples)[0]
    assert [tuple(view.shape[:2]) for view in batch.views] == [(6, 8), (4, 16), (4, 4), (4, 16)]
    assert {view.shape[2:] for view in batch.views} == {(3, 128, 128)}
    assert {view.dtype for view in batch.views} == {torch.uint8}
    same = ~batch.twins  # of twins one may be mirrored
    assert torch.equal(batch.facts[:4:2][same], batch.facts[1:4:2][same])
    assert len(batch.captions) == 6
    assert batch.labels.shape == (6, len(DIMENSIONS))
    assert batch.losses.shape == (4, len(network.KINDS))


def test_an_epoch_goes_through_every_scene_once(samples: Path) -> None:
    batches = Batches(Settings(num_scenes=12, scenes_per_batch=4), samples)
    epochs = [[seed for step in steps for seed in batches.turn(step, 4, 12)] for steps in ((0, 1, 2), (3, 4, 5))]
    assert sorted(epochs[0]) == list(range(12))
    assert sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_processes_share_a_batch_without_overlap(samples: Path) -> None:
    settings = Settings(**{**SETTINGS, "scenes_per_batch": 2, "num_sketches": 4})
    whole = Batches(settings, samples)[0]
    parts = [Batches(settings, samples, (part, 2))[0] for part in range(2)]
    assert [len(part.views[1]) for part in parts] == [2, 2]
    assert torch.equal(torch.cat([part.facts[:2, :3] for part in parts]), whole.facts[:4, :3])


def test_backwards_and_mirrored_what_is_said_turns_round() -> None:
    scene = Scene("red", "ball", "grass", "left", "in", look=1)
    frames = torch.arange(8 * 3 * 4, dtype=torch.uint8).view(8, 3, 1, 4)
    rng = np.random.default_rng(0)
    seen = batching._seen(scene, {}, [frames], rng, mirror=True, backwards=False)
    assert torch.equal(seen["views"][0], frames.flip(-1))
    assert seen["facts"][3:] == [
        list(PHRASES["motion"]).index("right"),
        list(PHRASES["camera"]).index("in"),
    ]
    seen = batching._seen(scene, {}, [frames], rng, mirror=False, backwards=True)
    assert torch.equal(seen["views"][0], frames.flip(0))
    assert seen["facts"][3:] == [
        list(PHRASES["motion"]).index("right"),
        list(PHRASES["camera"]).index("out"),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_disguise_changes_what_details_show_but_not_how_bad_they_look(drawn, moving, seed: int) -> None:
    clean, worse = moving, batching._by_view(drawn[2][1])
    disguise = batching.draw_disguise(np.random.default_rng(seed))
    disguised = disguise(clean)
    assert torch.equal(disguised[0], clean[0]), "the full view stays"
    for before, after in zip(clean[1:], disguised[1:], strict=True):
        assert (after.shape, after.dtype) == (before.shape, torch.uint8)
        assert (after.float() - before.float()).abs().mean() > 3
    for before, after, one, other in zip(clean[1:], worse[1:], disguised[1:], disguise(worse)[1:], strict=True):
        assert distortion(one, other) == pytest.approx(distortion(before, after), rel=0.3)


def test_frames_that_stand_still_do_so_in_disguise() -> None:
    views = [torch.randint(0, 256, (frames, 3, 128, 128), dtype=torch.uint8) for frames in drawing.VIEW_FRAMES]
    views[1][5], views[2][3], views[3][9] = views[1][4], views[2][2], views[3][8]
    _, dense, native, moving = batching.draw_disguise(np.random.default_rng(0))(views)
    assert torch.equal(moving[9], moving[8])
    assert torch.equal(dense[5], dense[4])
    assert not torch.equal(dense[6], dense[4])
    assert torch.equal(native[3], native[2])


def test_the_pieces_of_a_view_are_put_elsewhere_whole() -> None:
    view = torch.arange(2 * 3 * 6 * 6).view(2, 3, 6, 6)
    order = np.random.default_rng(0).permutation(9)
    moved = batching._reordered(view, order)
    for place, piece in enumerate(order):
        (row, column), (old_row, old_column) = (divmod(int(n), 3) for n in (place, piece))
        expected = view[:, :, 2 * old_row : 2 * old_row + 2, 2 * old_column : 2 * old_column + 2]
        assert torch.equal(moved[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2], expected)


@pytest.mark.parametrize("kind", ["bright", "cast", "contrast", "dark", "flicker", "freeze", "saturation", "shuffle",
                                  "stutter"])  # fmt: skip
def test_a_fault_made_in_the_views_shows_in_them_and_costs_what_shows(moving, kind: str) -> None:
    assert kind in drawing.MADE_IN_VIEWS
    costs, changes = [], []
    for severity in (0.1, 0.9):
        rng = np.random.default_rng(1)
        views, found = drawing.degrade_views(moving, [Degradation(kind, severity)], {}, rng)
        assert [(view.shape, view.dtype) for view in views] == [(view.shape, view.dtype) for view in moving]
        assert found.keys() == {kind}
        costs.append(found[kind])
        changes.append((views[1].float() - moving[1].float()).abs().mean())
    assert 0 < costs[0] < costs[1] <= 0.95
    assert 0 < changes[0] < changes[1]


def test_the_window_is_rearranged_at_its_full_price_whatever_the_light(moving) -> None:
    """Before the light changes, as in clips that are drawn; in the native view too, but not over the whole clip."""
    degrade_views, dark, stutter = (
        drawing.degrade_views,
        *map(Degradation, ("dark", "stutter"), (0.9, 0.8)),
    )
    views, costs = degrade_views(moving, [stutter], {}, np.random.default_rng(2))
    _, both = degrade_views(moving, [dark, stutter], {}, np.random.default_rng(2))
    assert both["stutter"] == costs["stutter"]
    assert both["dark"] > 0.5
    assert torch.equal(views[0], moving[0])
    assert not torch.equal(views[1], moving[1])
    assert all(any(torch.equal(frame, old) for old in moving[2]) for frame in views[2])


@pytest.mark.parametrize("given", [{"cast": 0.2, "jitter": 0.4}, {"blur": 0.3, "freeze": 0.1}])
def test_nothing_is_made_in_the_views_that_they_do_not_hold_or_that_spoils_a_price(moving, given) -> None:
    """Nothing in a dimension that has a fault; no other light where it may hide what is in the picture."""
    faults = [Degradation(kind, 0.9) for kind in ("blur", "drop", "pop", "dark", "stutter")]
    views, costs = drawing.degrade_views(moving, faults, given, np.random.default_rng(0))
    assert costs == given
    assert all(torch.equal(*pair) for pair in zip(views, moving, strict=True))


def test_a_batch_holds_faults_that_are_made_in_the_views(samples: Path, monkeypatch) -> None:
    settings, made = Settings(**SETTINGS), {"stutter": 0.25}
    monkeypatch.setattr(batching, "degrade_views", lambda views, faults, costs, rng: (views, made))
    batch = Batches(settings, samples)[0]
    assert (batch.losses[:, network.KINDS.index("stutter")] == 0.25).all()
    others = batch.losses[:, [kind not in ("stutter", "contrast") for kind in network.KINDS]]  # contrast: dim scenes
    assert not others.any()


def test_the_light_of_a_clip_counts_whatever_took_it(samples: Path, monkeypatch) -> None:
    settings = Settings(**SETTINGS)
    monkeypatch.setattr(batching, "degrade_views", lambda views, faults, costs, rng: (views, {}))
    lit = Batches(settings, samples)[0]
    monkeypatch.setattr(batching, "cost_of_light", lambda frames: 0.9)
    dim = Batches(settings, samples)[0]
    column = DIMENSIONS.index("Aesthetic")
    assert (lit.labels[:, column] > 3).any()
    torch.testing.assert_close(dim.labels[: len(dim.losses), column], torch.full((len(dim.losses),), 1.4))
    assert (dim.losses[:, network.KINDS.index("contrast")] == 0.9).all()
    scene, _, pixels = batching.read_sample(samples, drawing.HELD_OUT_SEED)
    known = scene, [drawing.Variant({}, costs) for costs in ({"dark": 0.3, "cast": 0.2}, {})], pixels
    monkeypatch.setattr(batching, "read_sample", lambda folder, seed: known)
    assert batching.held_out_clip(samples, 0)[1] == pytest.approx({"dark": 0.9, "cast": 0.2})


def test_a_run_may_start_from_a_trained_model_on_scenes_of_its_own(samples, trained, exported, tmp_path: Path) -> None:
    before = read_checkpoint(exported).trained_on
    further = SETTINGS | {"start": str(exported), "first_seed": 2, "steps": 1, "seen_before": 1, "num_held_out": 2}
    trainer = Trainer(tmp_path / "run", samples, Settings(**further))
    for name, value in trained.model.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    list(trainer.run())
    after = export(Trainer(tmp_path / "run", samples, Settings(**further)), tmp_path / "after")
    assert after.num_clips == 2 * before.num_clips - 6  # five of a scene that one step does not come to, and one seen
    assert after.recipe.startswith(before.recipe.split(" The patch")[0])
    digest = read_checkpoint(exported).weights_sha256[:12]
    assert f"Then, from there (weights {digest}), by scripts/demo_model, seed 0: 1 steps" in after.recipe
    assert "seeds 2 to 3" in after.recipe


def test_a_further_sitting_sees_other_scenes_and_is_judged_on_others_still(samples: Path, monkeypatch) -> None:
    asked, read_sample = [], batching.read_sample
    monkeypatch.setattr(batching, "read_sample", lambda folder, seed: asked.append(seed) or read_sample(folder, seed))
    batches = Batches(Settings(**SETTINGS | {"first_seed": 2}), samples)
    assert len([batches[step] for step in range(3)]) == 3
    assert set(asked) == {2, 3, *(drawing.SKETCH_SEED + number for number in (2, 3, 4))}
    asked.clear()
    assert batching.held_out_clip(samples, 1)[0].labels.shape == (1, 5)
    assert asked == [drawing.HELD_OUT_SEED]


@pytest.mark.parametrize(
    "wrong",
    [{"start": "assets/demo"}, {"seen_before": 4}, {"first_seed": 100_000_000}, {"num_sketches": 900_000_001}],
)
def test_seeds_are_not_drawn_from_twice(wrong) -> None:
    with pytest.raises(ValueError, match="seed"):
        Settings(**wrong)


def test_the_details_stand_beside_the_full_view_of_another_scene() -> None:
    features = torch.randn(6, 4, requires_grad=True)
    others = training.of_another_scene(features)
    assert torch.equal(others, features[[4, 5, 0, 1, 2, 3]])
    assert not others.requires_grad


def test_a_run_cannot_start_from_a_model_that_people_taught(samples, exported, tmp_path: Path) -> None:
    taught, known = shutil.copytree(exported, tmp_path / "taught"), read_checkpoint(exported)
    model, trained_on = load_checkpoint(known, device="cpu"), replace(known.trained_on, kind="human")
    save_checkpoint(model, taught, trained_on=trained_on, model_config=known.model)
    settings = Settings(**SETTINGS | {"start": str(taught), "first_seed": 2})
    with pytest.raises(SystemExit, match="learned from people"):
        Trainer(tmp_path / "run", samples, settings)


@pytest.mark.parametrize(
    ("other", "message"), [({"vocabulary_size": 700}, "another vocabulary"), ({"num_layers": 2}, "built differently")]
)
def test_a_run_cannot_start_from_a_model_built_otherwise(samples, exported, tmp_path, other, message) -> None:
    settings = Settings(**SETTINGS | {"start": str(exported), "first_seed": 2} | other)
    with pytest.raises(SystemExit, match=message):
        Trainer(tmp_path / "run", samples, settings)


def test_a_resumed_run_equals_an_uninterrupted_one(samples, trained, tmp_path: Path) -> None:
    settings = Settings(**SETTINGS)
    interrupted = Trainer(tmp_path, samples, settings).run(save_every=2)
    steps = [next(interrupted)["step"] for _ in range(3)]
    interrupted.close()
    resumed = Trainer(tmp_path, samples, settings)
    assert (steps[-1], resumed.step) == (3, 2)
    reports = list(resumed.run())
    assert [r["loss"] for r in reports] == [r["loss"] for r in trained.reports[2:]]
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_run_with_other_settings_is_not_resumed(samples: Path, trained) -> None:
    with pytest.raises(SystemExit, match="use another --run folder"):
        Trainer(trained.folder, samples, Settings(**{**SETTINGS, "seed": 1}))


def test_training_on_one_batch_learns_it(samples: Path, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, samples, Settings(**SETTINGS))
    batch = trainer.batches[0]
    losses = [trainer.train_on(batch)["loss"] for _ in range(9)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_patch_embedding_stays_as_it_was_set(trained) -> None:
    weights = load_file(trained.folder / "video_encoder" / "model.safetensors")
    set_weight = weights["encoder.embeddings.patch_embeddings.proj.weight"]
    assert torch.equal(trained.model.venc.embeddings.patch_embeddings.proj.weight, set_weight)


def test_filters_are_a_basis_and_all_but_the_mean_ignore_flat_patches() -> None:
    filters = network.dct_filters()
    assert filters.shape == (192, 3, 2, 16, 16)
    assert torch.linalg.matrix_rank(filters.flatten(1)) == 192
    assert (filters.sum(dim=(1, 2, 3, 4)).abs() > 1e-2).sum() == 1


def test_what_training_computes_faster_is_what_transformers_computes(trained) -> None:
    encoder = VJEPA2Model(network.video_config(trained.settings.num_layers)).encoder.eval()
    encoder.load_state_dict(trained.model.venc.state_dict())
    pixels = torch.randn(1, 3, 8, 128, 128)
    with torch.no_grad():
        expected = encoder(pixels.transpose(1, 2)).last_hidden_state.mean(dim=1)
        model = trained.model.eval()
        features = model.encode_view_tail(model._view_prefix(pixels))
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_a_step_computes_the_model_s_own_features_from_the_tokens_that_it_is_given(samples, trained) -> None:
    view, model = trained.batches[0].views[1], trained.model.eval()
    with torch.no_grad():
        expected = model.encode_view_tail(model._view_prefix(network.normalised(view, model.device)))
        torch.testing.assert_close(trained.encode(view, torch.arange(512)), expected, atol=1e-4, rtol=1e-4)
        part = trained.encode(view, torch.arange(0, 512, 2))
    assert 1e-4 < float((part - expected).abs().max()) < 1


def test_a_step_computes_a_share_of_the_tokens_and_the_last_steps_all(samples, tmp_path: Path) -> None:
    settings = Settings(**SETTINGS | {"steps": 10, "share_of_tokens": 0.5, "whole_at_end": 0.2})
    trainer = Trainer(tmp_path / "run", samples, settings)
    assert [len(tokens) for tokens in trainer.shown()] == [128, 256, 64, 256]
    dense = trainer.shown()[1].view(8, 32)
    assert torch.equal(dense[0] + 64, dense[1]), "some places of the picture, at all times"
    trainer.step = 8
    assert [len(tokens) for tokens in trainer.shown()] == [256, 512, 128, 512]


def test_the_curve_has_a_row_for_each_state_that_was_kept(samples, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training, "KEEP_EVERY", 2)
    trainer = Trainer(tmp_path / "run", samples, Settings(**SETTINGS | {"steps": 3}))
    list(trainer.run(save_every=1))
    cli.report_curve(trainer, 2)
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| 2", "| 3"]


def test_a_run_out_of_time_is_saved_and_exports_nothing(samples, tmp_path, monkeypatch) -> None:
    arguments = ["--run", str(tmp_path / "run"), "--samples", str(samples), "--out", str(tmp_path / "out")]
    arguments += [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    clock = chain([0.0, 0.0, 0.0], repeat(3600.0))  # started; two steps; over
    for module in (cli, training):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: next(clock), monotonic=time.monotonic))
    cli.main([*arguments, "--minutes", "1"])
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="holds no trained state"):
        cli.main(["--run", str(tmp_path / "typo"), "--out", str(tmp_path / "out"), "--export-only"])
    assert not (tmp_path / "typo").exists()


def test_two_processes_train_one_model(samples, tmp_path) -> None:
    arguments = ["--run", str(tmp_path / "run"), "--samples", str(samples), "--out", str(tmp_path / "out")]
    settings = {**SETTINGS, "steps": 2, "scenes_per_batch": 2, "num_held_out": 1}
    arguments += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    for seed in (0, 1, drawing.SKETCH_SEED, drawing.SKETCH_SEED + 1, drawing.SKETCH_SEED + 2):
        drawing.draw(samples, seed)  # here, where they are small: the processes draw nothing
    cli.main([*arguments, "--processes", "2"])
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2
    assert read_checkpoint(tmp_path / "out").trained_on.num_held_out == 1


def test_unknown_words_fall_into_known_pieces(trained) -> None:
    tokenizer = trained.model.tokenizer
    tokens = tokenizer.tokenize("A Crimson zeppelin rolls left, 4k!")
    assert tokenizer.unk_token not in tokens
    assert {"a", "crimson", "left", ",", "4k", "!"} <= set(tokens)
    assert 1 < len([token for token in tokens if token.strip("#") in "zeppelin"]) < len("zeppelin")
    assert set(caption_words()) <= set(tokenizer.get_vocab())


def test_the_export_is_a_small_loadable_checkpoint_that_scores_alike(trained, tmp_path: Path) -> None:
    trained_on = export(trained, tmp_path)
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
    assert exported.clip_config == replace(drawing.CLIP, looks=2)
    assert trained_on.known_words == tuple(sorted(caption_words()))
    card = files["README.md"].read_text(encoding="utf-8")
    assert "4 steps of 2 clips (2 scenes in four variants and a twin, seeds 0 to 1)" in card
    assert "crimson" in card
    batch = Batches(trained.settings, trained.samples)[0]
    pixels = [network.normalised(view[:2], trained.model.device) for view in batch.views]
    scores = []
    for model in (trained.model.eval(), exported.looking_as(trained.model.config, trained.model.clip_config)):
        with torch.no_grad():
            scores.append(
                model.predict_with_features(model.encode_video(pixels), model.encode_text(batch.captions[:2]))
            )
    assert torch.allclose(*scores, atol=0.02)


def test_a_run_may_go_on_with_more_steps_and_scenes(samples, trained) -> None:
    longer = Settings(**{**SETTINGS, "steps": 9, "num_scenes": 3})
    assert Trainer(trained.folder, samples, longer).step == 4


def test_the_command_line_trains_exports_and_evaluates(samples, tmp_path: Path, caplog) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {**SETTINGS, "steps": 2}.items()]
    folders = [f"--run={tmp_path / 'run'}", f"--samples={samples}", f"--out={tmp_path / 'out'}", "--device=cpu"]
    with caplog.at_level("INFO"), pytest.MonkeyPatch.context() as patch:
        cli.main([*folders, *options])
        patch.setattr(torch, "autocast", AUTOCAST)  # it evaluates in bfloat16 too
        cli.main(["--evaluate", str(tmp_path / "out"), "--num-held-out=3", f"--samples={samples}"])
    results = [record.getMessage() for record in caplog.records if "held-out" in record.getMessage()]
    assert len(results) == 2
    assert results[0] == results[1]
    assert read_checkpoint(tmp_path / "out").trained_on.num_held_out == 3

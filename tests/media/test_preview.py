"""Small copies for browsers: what they hold, how long and how large they are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from gradio.processing_utils import video_is_playable
from PIL import Image
from torchcodec.decoders import VideoDecoder

from vjepa_demo.media import preview as preview_module
from vjepa_demo.media.preview import LONGEST_EDGE
from vjepa_demo.media.preview import render_preview as write_preview  # in this very process
from vjepa_demo.schema import VideoError


def make(path: Path, *settings: str, size: str = "160x90", seconds: int = 1) -> Path:
    source = f"testsrc2=size={size}:rate=10:duration={seconds}"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *settings, path], check=True)
    return path


def probe(path: Path) -> dict:
    entries = "stream=codec_name,width,height,pix_fmt,nb_read_frames:format=duration"
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries", entries]
    found = json.loads(subprocess.run([*command, "-of", "json", path], check=True, capture_output=True).stdout)
    return found["streams"][0] | {"seconds": float(found["format"]["duration"])}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("moves.gif", ()),
        ("moves.apng", ()),
        ("old.avi", ("-c:v", "mpeg4")),
        ("lossless.mkv", ("-c:v", "ffv1")),
        ("high.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le")),
    ],
)
def test_what_no_browser_plays_has_a_copy_that_every_browser_plays(tmp_path, name, settings):
    clip, preview = make(tmp_path / name, *settings), tmp_path / "preview.mp4"
    assert not video_is_playable(str(clip))
    write_preview(clip, preview)
    assert video_is_playable(str(preview))
    shown = probe(preview)
    assert (shown["codec_name"], shown["pix_fmt"]) == ("h264", "yuv420p")
    assert (shown["width"], shown["height"]) == (160, 90)
    assert shown["seconds"] == pytest.approx(1.0, abs=0.11)


def test_an_animated_webp_is_played_at_its_own_speed(tmp_path):
    clip, preview = tmp_path / "moves.webp", tmp_path / "preview.mp4"
    first, *rest = [Image.new("RGB", (64, 48), (step * 20, 80, 200)) for step in range(12)]
    first.save(clip, save_all=True, append_images=rest, duration=125, lossless=True)
    write_preview(clip, preview)
    shown = probe(preview)
    assert int(shown["nb_read_frames"]) == 12
    assert shown["seconds"] == pytest.approx(1.5, abs=0.01)


def test_an_animated_webp_of_uneven_durations_is_played_at_its_own_speed(tmp_path):
    clip, preview = tmp_path / "moves.webp", tmp_path / "preview.mp4"
    first, *rest = [Image.new("RGB", (64, 48), (step * 20, 80, 200)) for step in range(12)]
    first.save(clip, save_all=True, append_images=rest, duration=[100] * 6 + [3000] + [100] * 5, lossless=True)
    write_preview(clip, preview)
    assert probe(preview)["seconds"] == pytest.approx(4.1, abs=0.01)


def test_a_raw_stream_that_cannot_be_sought_in_has_a_copy(tmp_path):
    clip, preview = make(tmp_path / "raw.h264", "-c:v", "libx264"), tmp_path / "preview.mp4"
    assert write_preview(clip, preview)
    assert int(probe(preview)["nb_read_frames"]) == pytest.approx(10, abs=1)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("clip.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p")), ("clip.webm", ("-c:v", "libvpx-vp9", "-cpu-used", "8"))],
)
def test_of_what_browsers_play_no_copy_is_made(tmp_path, name, settings):
    assert write_preview(make(tmp_path / name, *settings), tmp_path / "preview.mp4") is False
    assert not (tmp_path / "preview.mp4").exists()


def test_a_copy_holds_the_first_minute(tmp_path):
    clip, preview = make(tmp_path / "long.avi", "-c:v", "mpeg4", seconds=64), tmp_path / "preview.mp4"
    assert write_preview(clip, preview)
    assert probe(preview)["seconds"] == pytest.approx(60, abs=0.11)


def test_a_copy_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    clip = make(tmp_path / "long.avi", "-c:v", "mpeg4", seconds=20)
    monkeypatch.setattr(preview_module, "PATIENCE_SECONDS", 0.02)
    with pytest.raises(VideoError, match=r"long\.avi takes FFmpeg longer"):
        write_preview(clip, tmp_path / "preview.mp4")
    assert list(tmp_path.iterdir()) == [clip]


def test_an_avif_has_a_copy_whose_transparent_pixels_show_a_white_page(tmp_path):
    clip, preview = tmp_path / "moves.avif", tmp_path / "preview.mp4"
    first, *rest = [Image.new("RGBA", (64, 48), (step * 20, 80, 200, 0)) for step in range(8)]
    first.save(clip, save_all=True, append_images=rest, duration=100)
    assert write_preview(clip, preview)
    assert VideoDecoder(str(preview))[:].float().mean() > 250


def test_a_copy_is_small_even_in_size_and_has_square_pixels(tmp_path):
    clip, preview = tmp_path / "wide.mkv", tmp_path / "preview.mp4"
    make(clip, "-c:v", "ffv1", "-vf", "setsar=2", size="501x333")
    write_preview(clip, preview)
    shown = probe(preview)
    assert shown["width"] == LONGEST_EDGE
    assert shown["width"] / shown["height"] == pytest.approx(1002 / 333, abs=0.02)


def test_of_what_is_no_video_nothing_is_left(tmp_path):
    broken, preview = tmp_path / "broken.mkv", tmp_path / "preview.mp4"
    broken.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(VideoError, match=r"broken\.mkv"):
        write_preview(broken, preview)
    assert list(tmp_path.iterdir()) == [broken]

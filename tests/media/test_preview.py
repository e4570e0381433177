"""Small copies for browsers: what they hold, how long and how large they are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from gradio.processing_utils import video_is_playable
from PIL import Image

from vjepa_demo.media.preview import LONGEST_EDGE, write_preview
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

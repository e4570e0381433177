from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import gradio.media
import numpy as np
import pytest
import torch
from PIL import Image
from small_models import ffmpeg
from torchcodec.decoders import VideoDecoder

from vjepa_demo.config import DEMO_VIEWS, ClipConfig, View
from vjepa_demo.media import video
from vjepa_demo.media.sampling import clip_views, differences, frame_times, view_frames, view_indices
from vjepa_demo.media.shown import Look, film, probe
from vjepa_demo.media.video import clip_pixels, pixel_values, recode, write_video
from vjepa_demo.media.video import decode_clip as load_clip  # in this very process
from vjepa_demo.schema import VideoError

CONFIG = ClipConfig(num_frames=8, crop_size=64)
TEST_PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:duration=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def plain(folder) -> Path:
    """Two seconds of FFmpeg's test picture, 320 x 180, 24 frames a second."""
    ffmpeg(*TEST_PICTURE, "-g", 24, "-movflags", "+faststart", folder / "plain.mp4")
    return folder / "plain.mp4"


def grey_video(path: Path, levels: list[int], *, frames_per_second: float = 10) -> Path:
    """A video whose frame i is a plain grey of levels[i]: a decoded frame tells its own index."""
    frames = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 64, 64).contiguous()
    write_video(path, frames, frames_per_second=frames_per_second, crf=1)
    return path


def greys(clip) -> list[int]:
    return clip.frames.float().mean(dim=(1, 2, 3)).round().int().tolist()


# ---- which frames ----------------------------------------------------------------------------------------------------


def test_every_frame_is_taken_once_when_there_are_as_many_as_asked_for(folder):
    levels = [20, 50, 80, 110, 140, 170, 200, 230]
    clip = load_clip(grey_video(folder / "eight.mp4", levels), CONFIG)
    assert greys(clip) == pytest.approx(levels, abs=2)
    assert clip.frame_seconds == pytest.approx([index / 10 for index in range(8)])


def test_a_clip_with_too_few_frames_repeats_them_equally_often(folder):
    clip = load_clip(grey_video(folder / "two.mp4", [60, 180]), CONFIG)
    assert greys(clip) == pytest.approx([60] * 4 + [180] * 4, abs=2)


def test_a_single_frame_is_enough(folder):
    clip = load_clip(grey_video(folder / "one.mp4", [90]), CONFIG)
    assert greys(clip) == pytest.approx([90] * 8, abs=2)


def uneven(path: Path) -> Path:
    """A video of rising grey: 0..1 s holds 30 frames, 1..4 s only 9."""
    rising = "color=gray:size=64x64:rate=30:duration=4,geq=lum='20+N*1.5':cb=128:cr=128"
    keep = "select='lt(t,1)+gte(t,1)*not(mod(n,10))'"
    ffmpeg("-f", "lavfi", "-i", rising, "-vf", keep, "-fps_mode", "vfr", "-crf", 1, path)
    return path


def test_frames_are_uniform_in_time_when_the_frame_rate_is_not(folder):
    """1..4 s holds 9 of 39 frames: most of the frames shown must come from there, not 9/39."""
    clip = load_clip(uneven(folder / "vfr.mkv"), CONFIG)
    wanted = frame_times(0.0, clip.duration_seconds, 8)
    for shown, asked in zip(clip.frame_seconds, wanted, strict=True):
        assert shown <= asked < shown + 0.34  # the frame on screen at that moment
    assert sum(second >= 1 for second in clip.frame_seconds) == 6


# ---- preprocessing ---------------------------------------------------------------------------------------------------


def reference_frame(frame: np.ndarray, config: ClipConfig) -> np.ndarray:
    """VJEPA2VideoProcessor's resize and centre crop, by Pillow: an implementation that shares nothing with ours."""
    height, width = frame.shape[:2]
    scale = config.resize_edge / min(height, width)
    image = Image.fromarray(frame).resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
    left, top = round((image.width - config.crop_size) / 2), round((image.height - config.crop_size) / 2)
    return np.asarray(image.crop((left, top, left + config.crop_size, top + config.crop_size)))


@pytest.mark.parametrize(("name", "crop"), [("world.mp4", 64), ("world.mp4", 256), ("a.mp4", 64), ("b.avi", 256)])
def test_preprocessing_equals_the_processor_on_real_videos(name, crop, tmp_path):
    """Mean absolute difference at most 1/255 before normalising, against FFmpeg's full frames resized by Pillow."""
    config = ClipConfig(num_frames=4, crop_size=crop)
    path = gradio.media.get_video(name)
    clip = load_clip(path, config)
    for index, second in enumerate(clip.frame_seconds):
        ffmpeg("-ss", f"{max(second - 1e-3, 0):.4f}", "-i", path, "-frames:v", 1, tmp_path / "frame.bmp")
        expected = reference_frame(np.asarray(Image.open(tmp_path / "frame.bmp").convert("RGB")), config)
        difference = np.abs(clip.frames[index].permute(1, 2, 0).numpy().astype(float) - expected).mean()
        assert difference <= 1.0


def test_frames_from_memory_are_prepared_like_frames_from_a_file():
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    ours = view_frames(torch.from_numpy(frame).permute(2, 0, 1)[None], View(), CONFIG)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(float) - reference_frame(frame, CONFIG)).mean() <= 1.0


def test_pixels_are_scaled_normalised_and_put_channels_first():
    frames = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    frames[1, 0] = 255
    pixels = pixel_values(frames, CONFIG)
    assert pixels.shape == (3, 4, 2, 2)
    assert pixels.dtype == torch.float32
    assert pixels[0, 1, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229)
    assert pixels[2, 0, 1, 1].item() == pytest.approx(-0.406 / 0.225)


# ---- what FFmpeg decodes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("h265.mov", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("vp9.webm", ["-c:v", "libvpx-vp9", "-cpu-used", "8"]),
        ("mjpeg.avi", ["-c:v", "mjpeg"]),
        ("mpeg2.mpg", ["-c:v", "mpeg2video"]),
        ("stream.ts", ["-c:v", "libx264"]),
        ("moving.gif", []),
        ("ten_bit.mkv", ["-c:v", "libx264", "-pix_fmt", "yuv420p10le"]),
    ],
)
def test_codecs_and_containers_show_the_same_picture(name, options, plain, folder):
    ffmpeg("-i", plain, *options, "-q:v", 3, folder / name)
    clip, expected = load_clip(folder / name, CONFIG), load_clip(plain, CONFIG)
    assert clip.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert (clip.frames.float() - expected.frames.float()).abs().mean() < 12  # lossy, one frame's motion off at most


@pytest.mark.parametrize("name", ["grey.ts", "grey.mpg", "grey.vob", "grey.mkv", "grey.webm", "grey.flv"])
def test_every_container_gives_the_frames_of_the_times_asked_for(name, folder):
    """MPEG streams have no index: a seek lands after the frame that was meant, and nothing says so."""
    levels = [16 + 4 * index for index in range(50)]
    source = grey_video(folder / "levels.mp4", levels)
    codec = {"mpg": "mpeg2video", "vob": "mpeg2video", "webm": "libvpx-vp9"}.get(name.split(".")[1], "libx264")
    rate = 25 if codec == "mpeg2video" else 10  # MPEG-2 knows no slower one
    ffmpeg("-i", source, "-c:v", codec, "-b:v", "2M", "-r", rate, folder / name)
    found = greys(load_clip(folder / name, ClipConfig(num_frames=10, crop_size=32)))
    assert found == pytest.approx([levels[index] for index in range(2, 50, 5)], abs=6)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_in_the_file_is_honoured(degrees, plain, folder):
    """Against ffmpeg's own program, which turns the pixels when it encodes anew."""
    marked, turned = folder / f"marked{degrees}.mp4", folder / f"turned{degrees}.mp4"
    try:
        ffmpeg("-display_rotation", degrees, "-i", plain, "-c", "copy", marked)
    except subprocess.CalledProcessError:  # before FFmpeg 6
        ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", marked)
    ffmpeg("-i", marked, "-crf", 1, turned)
    frames, expected = load_clip(marked, CONFIG).frames.float(), load_clip(turned, CONFIG).frames.float()
    assert (frames - expected).abs().mean() < 3
    assert (frames - load_clip(plain, CONFIG).frames.float()).abs().mean() > 20


def test_a_trimmed_copy_with_an_edit_list_is_not_taken_for_a_cut_off_file(plain, folder):
    ffmpeg("-ss", 0.7, "-i", plain, "-c", "copy", folder / "trimmed.mp4")
    assert load_clip(folder / "trimmed.mp4", CONFIG).duration_seconds == pytest.approx(1.3, abs=0.1)


def test_sound_longer_than_the_picture_is_not_taken_for_a_cut_off_file(plain, folder):
    ffmpeg("-i", plain, "-f", "lavfi", "-i", "sine=duration=9", "-c:v", "copy", folder / "long_sound.mkv")
    assert load_clip(folder / "long_sound.mkv", CONFIG).duration_seconds == pytest.approx(2.0, abs=0.1)


def test_a_subtitle_longer_than_the_picture_is_not_taken_for_a_cut_off_file(plain, folder):
    (folder / "late.srt").write_text("1\n00:00:08,000 --> 00:00:09,000\nthe end\n")
    ffmpeg("-i", plain, "-i", folder / "late.srt", "-c:v", "copy", folder / "subtitle.mkv")
    assert load_clip(folder / "subtitle.mkv", CONFIG).duration_seconds == pytest.approx(2.0, abs=0.1)


def test_written_videos_come_back_as_they_were(folder):
    frames = torch.randint(0, 256, (6, 3, 4, 4), dtype=torch.uint8)
    frames = frames.repeat_interleave(16, 2).repeat_interleave(16, 3)
    write_video(folder / "written.mp4", frames, frames_per_second=12, crf=1)
    clip = load_clip(folder / "written.mp4", ClipConfig(num_frames=6, crop_size=56))
    assert clip.duration_seconds == pytest.approx(0.5)
    assert (clip.frames.float() - view_frames(frames, View(), ClipConfig(6, 56)).float()).abs().mean() < 12
    assert not list(folder.glob(".*partial*"))


# ---- views -----------------------------------------------------------------------------------------------------------


def test_a_file_shows_each_view_what_its_frames_show(folder):
    pictures = torch.rand(40, 3, 9, 16).mul(255).to(torch.uint8).repeat_interleave(20, 2).repeat_interleave(20, 3)
    write_video(folder / "views.mp4", pictures, frames_per_second=20, crf=1)
    config = ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS[:3])
    clip, raw = load_clip(folder / "views.mp4", config), VideoDecoder(str(folder / "views.mp4"))[:]
    for view, shown in zip(DEMO_VIEWS[:3], (clip.frames, *clip.more_views), strict=True):
        expected = view_frames(raw[view_indices(view, 40, 20.0, config)], view, config)
        assert shown.shape == expected.shape
        assert (shown.float() - expected.float()).abs().mean() < 1.5
    assert [tuple(pixels.shape) for pixels in clip_pixels(clip, config)] == [
        (1, 3, frames, 128, 128) for frames in (8, 16, 4)
    ]
    assert len(clip.frame_seconds) == 8


def test_all_views_are_decoded_in_one_pass_after_the_scan(folder, monkeypatch):
    config, opened = ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS), []
    write_video(folder / "pass.mp4", torch.zeros(40, 3, 180, 320, dtype=torch.uint8), frames_per_second=20)
    original = video.open_video
    monkeypatch.setattr(
        video, "open_video", lambda *args, **settings: opened.append(settings) or original(*args, **settings)
    )
    load_clip(folder / "pass.mp4", config)
    assert [sorted(settings) for settings in opened] == [[], ["transforms"]]


LOOKING_TWICE = ClipConfig(
    num_frames=16, crop_size=128, views=(*DEMO_VIEWS[:3], replace(DEMO_VIEWS[1], differences=True)), looks=2
)


def all_views(clip) -> list[torch.Tensor]:
    return [clip.frames, *clip.more_views]


@pytest.mark.parametrize("count", [40, 12])
def test_a_file_shows_each_look_what_its_frames_show(folder, monkeypatch, count):
    pictures = torch.rand(count, 3, 9, 16).mul(255).to(torch.uint8).repeat_interleave(20, 2).repeat_interleave(20, 3)
    path = folder / f"looks{count}.mp4"
    write_video(path, pictures, frames_per_second=20, crf=1)
    asked, original = [], video._decode_counted
    monkeypatch.setattr(
        video, "_decode_counted", lambda p, d, indices, shape: asked.append(indices) or original(p, d, indices, shape)
    )
    shown = all_views(load_clip(path, LOOKING_TWICE))
    expected = clip_views(VideoDecoder(str(path))[:], 20.0, LOOKING_TWICE)
    assert len(shown) == len(expected) == 8
    for one, other in zip(shown, expected, strict=True):
        assert (one.float() - other.float()).abs().mean() < 3
    (indices,) = asked  # one pass, each frame once
    assert len(set(indices)) == len(indices)


def test_looks_without_a_window_are_decoded_as_those_beside_one(folder, plain):
    whole, dense = View(num_frames=8, framing="squeeze"), View(num_frames=2, window=2)
    alone = all_views(load_clip(plain, ClipConfig(crop_size=32, views=(whole,), looks=2)))
    both = all_views(load_clip(plain, ClipConfig(crop_size=32, views=(whole, dense), looks=2)))
    assert len(alone) == 2
    for one, other in zip(alone, both[::2], strict=True):
        assert (one.float() - other.float()).abs().mean() < 4
    path = uneven(folder / "looks.mkv")  # found by times in a second pass
    alone = load_clip(path, ClipConfig(crop_size=32, views=(whole,), looks=2))
    both = load_clip(path, ClipConfig(crop_size=32, views=(whole, dense), looks=2))
    assert torch.equal(alone.more_views[0], both.more_views[1])


def test_a_rendered_file_shows_every_look(folder, plain):
    ffmpeg("-i", plain, "-c", "copy", "-aspect", "32:9", folder / "wide.mp4")  # of oblong pixels
    whole = View(num_frames=8, framing="squeeze")
    for views in ((whole,), (whole, replace(whole, window=8))):
        config = ClipConfig(crop_size=64, views=views, looks=2)
        rendered, decoded = (all_views(load_clip(path, config)) for path in (folder / "wide.mp4", plain))
        assert len(rendered) == 2 * len(views)
        for one, other in zip(rendered, decoded, strict=True):
            assert (one.float() - other.float()).abs().mean() < 4


def test_frames_decoded_one_by_one_are_those_decoded_together(world, monkeypatch):
    config = ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS)
    together = load_clip(world, config)
    monkeypatch.setattr(video, "DECODED_BYTES", 1)
    apart = load_clip(world, config)
    assert apart.frame_seconds == together.frame_seconds
    for one, other in zip((apart.frames, *apart.more_views), (together.frames, *together.more_views), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("views", [(View(num_frames=16, window=16),), DEMO_VIEWS], ids=["window", "demo"])
def test_a_stream_without_an_index_shows_the_window_that_its_copy_shows(views, folder):
    """FFmpeg finds frame 48 where 42 was asked for: the stream begins anew at frames that refer to earlier ones."""
    source = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=4", "-c:v", "libx264")
    ffmpeg(*source, "-x264-params", "open-gop=1:keyint=24", folder / "open.ts")
    ffmpeg("-i", folder / "open.ts", "-c", "copy", folder / "open.mkv")
    config = ClipConfig(num_frames=16, crop_size=64, views=views if len(views) == 1 else (views[0], *views[2:]))
    stream, copy = (load_clip(folder / name, config) for name in ("open.ts", "open.mkv"))
    for one, other in zip((stream.frames, *stream.more_views), (copy.frames, *copy.more_views), strict=True):
        assert torch.equal(one, other)


def test_views_beside_a_window_are_uniform_in_time_when_the_frame_rate_is_not(folder):
    whole, dense = View(num_frames=8, framing="squeeze"), View(num_frames=8, window=8)
    path = uneven(folder / "views.mkv")
    alone, both = (load_clip(path, ClipConfig(crop_size=32, views=v)) for v in ((whole,), (whole, dense)))
    assert both.frame_seconds == alone.frame_seconds
    assert torch.equal(both.frames, alone.frames)
    assert both.more_views[0].shape == (8, 3, 32, 32)


def test_a_view_of_differences_shows_those_of_the_frames_beside_it(world):
    for framing in ("crop", "fragments"):
        view = View(num_frames=8, window=8, framing=framing, edge=146, grid=4)
        config = ClipConfig(num_frames=8, crop_size=64, views=(view, replace(view, differences=True)))
        clip = load_clip(world, config)
        assert torch.equal(clip.more_views[0], differences(clip.frames))


@pytest.mark.parametrize("name", ["world.mp4", "a.mp4", "b.avi"])
def test_real_videos_have_every_view(name):
    clip = load_clip(gradio.media.get_video(name), ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS))
    assert [view.shape for view in clip.more_views] == [(frames, 3, 128, 128) for frames in (16, 4, 16)]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "mjpeg"])
def test_recoded_frames_are_as_many_and_nearly_the_same(codec):
    ramp = torch.linspace(20, 230, 64).expand(3, 48, 64)
    frames = torch.stack([ramp.roll(3 * place, 2) for place in range(5)]).to(torch.uint8)
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    quiet = {"x265-params": "log-level=0"} if codec == "libx265" else {}
    coded = recode(frames, codec=codec, frames_per_second=30, pixel_format=pixel_format, extra_options=quiet)
    assert coded.shape == frames.shape
    assert (coded.float() - frames.float()).abs().mean() < 12


# ---- what cannot be scored -------------------------------------------------------------------------------------------


def first_half(path: Path, target: Path) -> Path:
    data = path.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    return target


def damaged(path: Path, target: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    target.write_bytes(data)
    return target


def empty(_: Path, target: Path) -> Path:
    target.touch()
    return target


def text(_: Path, target: Path) -> Path:
    target.write_text("these are not the frames you are looking for")
    return target


def noise(_: Path, target: Path) -> Path:
    target.write_bytes(np.random.default_rng(0).bytes(5000))
    return target


def sound_with_cover(path: Path, target: Path) -> Path:
    cover = picture(path, target.with_suffix(".png"))
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-i", cover, "-map", 0, "-map", 1, "-c:v", "copy", target)
    return target


def huge(_: Path, target: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "color=size=8200x4400:rate=2:duration=1", "-c:v", "mjpeg", target)
    return target


def sound(_: Path, target: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", target)
    return target


def picture(path: Path, target: Path) -> Path:
    ffmpeg("-i", path, "-frames:v", 1, target)
    return target


def archive(_: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("clip.mp4", b"frames")
    return target


def endless(path: Path, target: Path) -> Path:
    data = bytearray(picture(path, target).read_bytes())
    data[16:24] = (200_000).to_bytes(4, "big") * 2  # width and height in the header, whose checksum follows
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    target.write_bytes(data)
    return target


def directory(_: Path, target: Path) -> Path:
    target.mkdir()
    return target


def sliver(_: Path, target: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1600x16:duration=0.2", target)
    return target


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda _, target: target, "gone.mp4", "no such file"),
        (lambda *_: Path("http://somewhere.com/clip.mp4"), "", "clip.mp4 is an address of the web: download"),
        (archive, "clips.zip", r"clips\.zip is a zip: name one of the videos in it, or score the zip as a batch"),
        (endless, "endless.png", r"endless\.png cannot be read as a video: its header names frames too large"),
        (directory, "clips.mp4", "clips.mp4 is a folder: name the videos in it"),
        (empty, "empty.mp4", r"empty\.mp4 is empty \(0 bytes\)"),
        (text, "text.mp4", "text.mp4 cannot be read as a video: it is a text file"),
        (text, "text.nfo", "it is a text file"),
        (noise, "noise.mp4", "noise.mp4 cannot be read as a video: Invalid data"),
        (first_half, "half.mp4", r"half\.mp4 is cut off: \d\.\d s of the 2\.0 s"),
        (damaged, "damaged.mp4", "damaged.mp4 cannot be read as a video"),
        (sound, "sound.m4a", "no video stream"),
        (sound, "sound.mp3", "no video stream"),
        (sound_with_cover, "cover.mp3", "sound with a cover picture"),
        (picture, "picture.png", "is a still image"),
        (picture, "picture.jpg", "is a still image"),
        (picture, "picture.tga", "is a still image"),
        (huge, "huge.mkv", "8200 x 4400 pixels, larger than 8K"),
        (sliver, "sliver.mp4", "1600 x 16 pixels; one side may be 20 times the other at most"),
    ],
)
def test_what_is_no_video_is_refused_with_the_reason(make, name, message, plain, tmp_path):
    with pytest.raises(VideoError, match=message):
        load_clip(make(plain, tmp_path / name), CONFIG)


HLS = "#EXTM3U\n{mark}#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{path}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\n{mark}file {path}\n"
DASH = '<?xml version="1.0"?><MPD type="static"><Period><BaseURL>{path}</BaseURL></Period></MPD>{mark}'
ID3_TAG = b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16)  # FFmpeg skips it before it guesses the format


@pytest.mark.parametrize("mark", ["", "#\x01\n"], ids=["text", "control byte"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \r\n", ID3_TAG, 2 * ID3_TAG])
@pytest.mark.parametrize("playlist", [HLS, CONCAT, DASH], ids=["hls", "concat", "dash"])
def test_a_playlist_does_not_open_other_files_of_the_server(playlist, before, mark, private, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(before + playlist.format(path=private, mark=mark).encode())
    with pytest.raises(VideoError, match="a playlist of other files"):
        load_clip(tmp_path / "clip.mp4", CONFIG)


@pytest.mark.parametrize("playlist", [HLS, CONCAT], ids=["hls", "concat"])
def test_a_format_that_names_other_files_is_refused_by_its_name_too(playlist, private, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text(playlist.format(path=private.name, mark=""))
    shutil.copy(private, tmp_path)
    for read in (lambda: probe(path, "v", "stream"), lambda: film(path, "0:v:0", Look())):
        with pytest.raises(VideoError, match=r"a playlist of other files \((hls|concat)\)"):
            read()


@pytest.fixture(scope="module")
def private(plain, folder) -> Path:
    ffmpeg("-i", plain, "-c", "copy", folder / "private.ts")
    return folder / "private.ts"


def test_a_cut_off_webm_is_refused_too(plain, tmp_path):
    ffmpeg("-i", plain, "-c:v", "libvpx-vp9", "-cpu-used", 8, tmp_path / "whole.webm")
    with pytest.raises(VideoError, match="cut off"):
        load_clip(first_half(tmp_path / "whole.webm", tmp_path / "half.webm"), CONFIG)


@pytest.mark.parametrize(
    ("system", "install"), [("Linux", "apt-get install ffmpeg"), ("Darwin", "brew install ffmpeg")]
)
def test_missing_ffmpeg_gives_the_install_line_of_the_platform(system, install, plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)  # as if its libraries did not load
    monkeypatch.setattr(platform, "system", lambda: system)
    with pytest.raises(VideoError, match=install):
        load_clip(plain, CONFIG)


# ---- memory ----------------------------------------------------------------------------------------------------------

MEASURE = r"""
import re, resource, sys
from pathlib import Path
from vjepa_demo.config import DEMO_VIEWS, ClipConfig
from vjepa_demo.media.video import decode_clip
for video in sys.argv[1:]:
    decode_clip(video, ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS))
    # On Linux, ru_maxrss of a new process begins at the peak of the process that started it: the tests themselves.
    if sys.platform == "linux":
        print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS
"""


def test_memory_is_bounded_by_the_frames_kept_and_not_by_the_file(tmp_path):
    """A process that decodes stays under 1 GB for a file of 15 minutes and for one in 4K."""
    long, large = tmp_path / "long.mp4", tmp_path / "4k.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=10:duration=900", "-preset", "ultrafast", long)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=3840x2160:rate=24:duration=2", "-preset", "ultrafast", large)
    command = [sys.executable, "-c", MEASURE, str(long), str(large)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after_long, after_large = map(int, output.split())
    assert after_long < 1e9
    assert after_large < 1e9

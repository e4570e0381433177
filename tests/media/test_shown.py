"""What is decoded is what a player shows: against copies that FFmpeg's program, or Pillow, made of each file."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import ffmpeg
from torchcodec.decoders import VideoDecoder

from vjepa_demo.config import DEMO_VIEWS, ClipConfig, View
from vjepa_demo.media import shown, webp
from vjepa_demo.media.preview import render_preview as write_preview
from vjepa_demo.media.video import Clip, check_file
from vjepa_demo.media.video import decode_clip as load_clip  # in this very process
from vjepa_demo.media.webp import raw_input, webp_film
from vjepa_demo.media.whole import is_cut_off
from vjepa_demo.schema import VideoError

CONFIG = ClipConfig(num_frames=16, crop_size=64, views=DEMO_VIEWS)
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:duration=2")
LOSSLESS = ("-c:v", "ffv1", "-an")
X265 = ("-c:v", "libx265", "-x265-params")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """Two seconds of FFmpeg's test picture, 320 x 180, 24 frames a second."""
    path = tmp_path_factory.mktemp("shown") / "plain.mp4"
    ffmpeg(*PICTURE, "-g", 48, "-crf", 10, path)
    return path


def lossless(path: Path, *options, before: tuple = ()) -> Path:
    """What FFmpeg shows of a file."""
    copy = path.with_name(f"{path.name}.lossless.mkv")
    ffmpeg(*before, "-i", path, *LOSSLESS, "-fps_mode", "passthrough", *options, copy)
    return copy


def views(clip: Clip) -> list[torch.Tensor]:
    return [clip.frames, *clip.more_views]


def difference(one: Path | Clip, other: Path | Clip) -> float:
    """The largest mean difference of a view, in grey levels of 255."""
    clips = [each if isinstance(each, Clip) else load_clip(each, CONFIG) for each in (one, other)]
    assert clips[0].duration_seconds == pytest.approx(clips[1].duration_seconds, abs=0.06)
    pairs = zip(*map(views, clips), strict=True)
    return max((one.float() - other.float()).abs().mean().item() for one, other in pairs)


# ---- frames that are there, and not shown ----------------------------------------------------------------------------


def test_what_a_lossless_trim_hides_is_not_scored(tmp_path):
    ffmpeg(*PICTURE[:3], "testsrc2=size=320x180:rate=24:duration=4", "-g", 96, "-bf", 2, tmp_path / "whole.mp4")
    ffmpeg("-ss", 1.5, "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "trimmed.mp4")
    assert load_clip(tmp_path / "trimmed.mp4", CONFIG).duration_seconds == pytest.approx(2.5, abs=0.05)
    assert difference(tmp_path / "trimmed.mp4", lossless(tmp_path / "trimmed.mp4")) == 0


def test_packets_that_show_nothing_are_not_counted(tmp_path):
    """VP8 keeps pictures that are only referred to; as a packet of its own each of them has a time."""
    options = ("-c:v", "libvpx", "-auto-alt-ref", 1, "-lag-in-frames", 16, "-b:v", "300k", "-cpu-used", 4)
    for number, target in ((1, ["-f", "null", "-"]), (2, [tmp_path / "altref.webm"])):
        passes = ("-pass", number, "-passlogfile", tmp_path / "log")
        ffmpeg(*PICTURE[:3], "testsrc2=size=160x120:rate=24:duration=4", *options, *passes, *target)
    assert len(VideoDecoder(str(tmp_path / "altref.webm"))) > 96
    assert difference(tmp_path / "altref.webm", lossless(tmp_path / "altref.webm")) == 0


@pytest.mark.parametrize("config", [CONFIG, ClipConfig(num_frames=16, crop_size=64, views=(View(),))])
def test_pictures_that_refer_to_frames_before_a_cut_are_not_counted(config, tmp_path):
    ffmpeg(*PICTURE, *X265, "log-level=0:keyint=24:open-gop=1:bframes=4:scenecut=0", tmp_path / "open.mkv")
    ffmpeg("-ss", 1, "-i", tmp_path / "open.mkv", "-c", "copy", tmp_path / "cut.mkv")
    shown_frames = load_clip(lossless(tmp_path / "cut.mkv"), config)
    for one, other in zip(views(load_clip(tmp_path / "cut.mkv", config)), views(shown_frames), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("ending", ["ts", "mkv"])
def test_a_stream_that_changes_its_size_is_shown_in_its_first(ending, tmp_path):
    parts = []
    for size in ("320x180", "480x270"):
        parts.append(tmp_path / f"{size}.ts")
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=24:duration=1", "-c:v", "libx264", parts[-1])
    (tmp_path / "sizes.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    ffmpeg("-fflags", "+genpts", "-i", tmp_path / "sizes.ts", "-c", "copy", tmp_path / "sizes.mkv")
    path = tmp_path / f"sizes.{ending}"
    assert difference(path, lossless(path)) == 0


@pytest.mark.parametrize("codec", [("-c:v", "libx264"), X265])
def test_a_stream_that_changes_its_size_at_a_key_frame_that_can_be_sought_is_shown_in_its_first(codec, tmp_path):
    """As two streams joined in a time that goes on: torchcodec reads them, and stretches the second in its own way."""
    for number, size in enumerate(("320x180", "160x90")):
        picture = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=24:duration=1")
        log = ("log-level=0",) if codec is X265 else ()
        ffmpeg(*picture, *codec, *log, "-output_ts_offset", number, tmp_path / f"{number}.ts")
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join((tmp_path / f"{number}.ts").read_bytes() for number in (0, 1)))
    assert difference(path, lossless(path)) == 0


def test_rendered_frames_have_the_first_size(tmp_path):
    for size in ("320x180", "480x270"):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=24:duration=1", tmp_path / f"{size}.ts")
    (tmp_path / "sizes.ts").write_bytes(b"".join((tmp_path / f"{s}.ts").read_bytes() for s in ("320x180", "480x270")))
    film = shown.film(tmp_path / "sizes.ts", "0:v:0", shown.Look())
    wanted = [3, 30, 31, 40]
    film.write(wanted, tmp_path / "copy.mkv")
    found, expected = VideoDecoder(str(tmp_path / "copy.mkv"))[:], VideoDecoder(str(lossless(tmp_path / "sizes.ts")))[:]
    assert torch.equal(found, expected[wanted])


def test_a_stream_that_changes_the_format_of_its_pixels_is_shown_in_its_first(tmp_path):
    for pixels in ("yuv420p", "yuv444p"):
        picture = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:duration=1")
        ffmpeg(*picture, "-c:v", "libx264", "-crf", 4, "-pix_fmt", pixels, tmp_path / f"{pixels}.ts")
    parts = [(tmp_path / f"{pixels}.ts").read_bytes() for pixels in ("yuv420p", "yuv444p")]
    (tmp_path / "formats.ts").write_bytes(b"".join(parts))
    ffmpeg("-fflags", "+genpts", "-i", tmp_path / "formats.ts", "-c", "copy", tmp_path / "formats.mkv")
    film = shown.film(tmp_path / "formats.mkv", "0:v:0", shown.Look())
    assert not film.is_one_shape
    first = lossless(tmp_path / "yuv420p.ts")
    film.write([3, 30, 40], tmp_path / "copy.mkv")
    found, expected = (VideoDecoder(str(path))[:] for path in (tmp_path / "copy.mkv", first))
    assert (found.float() - expected[[3, 6, 16]].float()).abs().mean() < 3


def test_a_raw_stream_is_scored_as_ffmpeg_shows_it(plain, tmp_path):
    ffmpeg("-i", plain, "-c", "copy", tmp_path / "raw.h264")
    assert difference(tmp_path / "raw.h264", lossless(tmp_path / "raw.h264")) == 0


# ---- how pixels are shown --------------------------------------------------------------------------------------------


def with_matrix(path: Path, target: Path, *corners: float) -> Path:
    """A copy of an MP4 whose display matrix has these four `corners` (a, b, c, d)."""
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 4 + 40  # of the matrix in a box of version 0
    a, b, c, d = (round(corner * 2**16) for corner in corners)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("corners", "filters"),
    [
        ((-1, 0, 0, 1), "hflip"),
        ((1, 0, 0, -1), "vflip"),
        ((0, 1, 1, 0), "transpose=cclock_flip"),
        ((0, -1, -1, 0), "transpose=clock_flip"),
        ((-1, 0, 0, -1), "hflip,vflip"),
    ],
)
def test_a_mirrored_display_matrix_mirrors_the_picture(corners, filters, plain, tmp_path):
    ffmpeg("-i", plain, "-vf", filters, *LOSSLESS, tmp_path / "turned.mkv")
    assert difference(with_matrix(plain, tmp_path / "marked.mp4", *corners), tmp_path / "turned.mkv") < 0.7


def hidden_half(seen: Path, target: Path, *options, hidden: str) -> Path:
    """A video whose left half shows nothing: the pixels below are `hidden`."""
    half = f"color={hidden}@0:size=160x180:rate=24,format=rgba"
    alpha = "[0:v]format=gbrap[v];[1:v]format=gbrap[h];[v]crop=160:180:160:0[r];[h][r]hstack=shortest=1"
    ffmpeg("-i", seen, "-f", "lavfi", "-i", half, "-filter_complex", alpha, *options, target)
    return target


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vp9.webm", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", 4, "-b:v", 0, "-cpu-used", 8]),
        ("vp8.webm", ["-c:v", "libvpx", "-pix_fmt", "yuva420p", "-b:v", "9M", "-auto-alt-ref", 0]),
        ("prores.mov", ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"]),
        ("animation.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"]),
        ("moving.apng", ["-c:v", "apng", "-pix_fmt", "rgba"]),
        ("ffv1.mkv", ["-c:v", "ffv1", "-pix_fmt", "bgra"]),
    ],
)
def test_transparent_pixels_show_a_white_page(name, options, plain, tmp_path):
    expected = tmp_path / "white.mkv"
    ffmpeg("-i", plain, "-vf", "drawbox=w=160:h=180:color=white:t=fill", *LOSSLESS, expected)
    for hidden in ("red", "black"):
        path = hidden_half(plain, tmp_path / f"{hidden}_{name}", *options, hidden=hidden)
        assert difference(path, expected) < 4, hidden


@pytest.mark.parametrize("curve", ["smpte2084", "arib-std-b67"])
def test_hdr_is_mapped_to_an_ordinary_screen(curve, tmp_path):
    path = hdr(tmp_path / "hdr.mp4", curve)
    tone_mapped = lossless(path, "-vf", shown.TO_SDR)
    assert difference(path, tone_mapped) == 0
    assert load_clip(path, CONFIG).notes == ()
    assert difference(path, hdr(tmp_path / "sdr.mp4", "bt709")) > 3


def test_raw_hdr_is_mapped_like_the_same_stream_in_a_container(tmp_path):
    path, raw = hdr(tmp_path / "hdr.mp4", "smpte2084"), tmp_path / "hdr.hevc"
    ffmpeg("-i", path, "-c", "copy", raw)
    assert difference(raw, path) < 1


def test_hdr_that_this_ffmpeg_cannot_map_is_scored_with_a_note(tmp_path, monkeypatch):
    path = hdr(tmp_path / "hdr.mp4", "smpte2084")
    monkeypatch.setattr(shown, "ability_names", lambda kind: frozenset())
    clip = load_clip(path, CONFIG)
    assert [note.startswith("The video is HDR (PQ)") for note in clip.notes] == [True]
    assert difference(clip, hdr(tmp_path / "sdr.mp4", "bt709")) < 1


def hdr(path: Path, curve: str) -> Path:
    colours = f"colorprim=bt2020:colormatrix=bt2020nc:transfer={curve}"
    ffmpeg(*PICTURE, "-pix_fmt", "yuv420p10le", *X265, f"log-level=0:{colours}", "-crf", 8, path)
    return path


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("place", ["stream", "container"])
def test_pixels_that_are_no_squares_are_shown_as_wide_as_they_are(place, ending, plain, tmp_path):
    path, square = tmp_path / f"anamorphic.{ending}", tmp_path / "square.mkv"
    if place == "stream":
        ffmpeg("-i", plain, "-vf", "setsar=1/2", "-crf", 1, path)
    else:
        ffmpeg("-i", plain, "-c", "copy", "-aspect", "8:9", path)
    ffmpeg("-i", path, "-vf", "scale=iw*sar:ih,setsar=1", *LOSSLESS, square)
    assert VideoDecoder(str(square)).metadata.width == 160
    assert difference(path, square) == 0


def test_the_limit_of_shapes_counts_pixels_as_they_are_shown(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x64:duration=0.2", "-vf", "setsar=5", tmp_path / "wide.mkv")
    with pytest.raises(VideoError, match="1600 x 64 pixels; one side may be 20 times"):
        load_clip(tmp_path / "wide.mkv", CONFIG)


# ---- pictures that move ----------------------------------------------------------------------------------------------


def pictures(count: int = 12) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (9, 16, 3), np.uint8)).resize((160, 90)) for _ in range(count)]


def test_an_animated_webp_shows_what_its_frames_show_for_as_long(tmp_path):
    frames, lengths = pictures(), [100] * 6 + [900] + [100] * 5
    options = {"save_all": True, "duration": lengths, "lossless": True}
    frames[0].save(tmp_path / "moving.webp", append_images=frames[1:], **options)
    repeated = [frame for frame, length in zip(frames, lengths, strict=True) for _ in range(length // 100)]
    for index, frame in enumerate(repeated):
        frame.save(tmp_path / f"{index:02}.png")
    ffmpeg("-framerate", 10, "-i", tmp_path / "%02d.png", *LOSSLESS, tmp_path / "constant.mkv")
    assert difference(tmp_path / "moving.webp", tmp_path / "constant.mkv") == 0


def test_transparent_pixels_of_webp_apng_and_avif_show_a_white_page(tmp_path):
    frames = pictures()
    seen = Image.fromarray(np.tile(np.repeat([0, 255], 80).astype(np.uint8), (90, 1)))
    white = [Image.composite(frame, Image.new("RGB", frame.size, "white"), seen) for frame in frames]
    for frame in frames:
        frame.putalpha(seen)
    for ending, options, close in (("webp", {"lossless": True}, 0), ("png", {}, 0), ("avif", {"quality": 95}, 5)):
        for name, images in (("clear", frames), ("white", white)):
            path = tmp_path / f"{name}.{ending}"
            images[0].save(path, save_all=True, append_images=images[1:], duration=100, **options)
        assert difference(tmp_path / f"clear.{ending}", tmp_path / f"white.{ending}") <= close


def test_a_gif_is_scored_as_its_lossless_copy(plain, tmp_path):
    ffmpeg("-i", plain, tmp_path / "moving.gif")
    assert difference(tmp_path / "moving.gif", lossless(tmp_path / "moving.gif")) == 0


def test_a_still_webp_is_refused(tmp_path):
    pictures()[0].save(tmp_path / "still.webp")
    with pytest.raises(VideoError, match="is a still image"):
        load_clip(tmp_path / "still.webp", CONFIG)


# ---- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_equal_viewing_gives_equal_frames_whether_a_freeze_is_stored_once_or_often(ending, tmp_path):
    moving, still = "testsrc2=size=320x180:rate=24:duration=2", "tpad=stop_mode=clone:stop_duration=4"
    graph = f"{moving},{still}[a];{moving}[b];[a][b]concat,format=yuv420p"
    ffmpeg("-f", "lavfi", "-i", graph, *LOSSLESS, tmp_path / "constant.mkv")
    once = ("-vf", "mpdecimate=hi=1:lo=1:frac=1", "-fps_mode", "vfr", "-c:v", "ffv1" if ending == "mkv" else "libx264")
    ffmpeg("-i", tmp_path / "constant.mkv", *once, "-qp", 0, tmp_path / f"once.{ending}")
    assert len(VideoDecoder(str(tmp_path / f"once.{ending}"))) < 110
    assert difference(tmp_path / f"once.{ending}", tmp_path / "constant.mkv") == 0


def test_the_last_frame_of_a_flash_video_stays_as_long_as_the_others(plain, tmp_path):
    ffmpeg("-i", plain, "-c:v", "flv", "-q:v", 3, tmp_path / "clip.flv")
    assert load_clip(tmp_path / "clip.flv", CONFIG).duration_seconds == pytest.approx(2.0, abs=0.01)
    assert difference(tmp_path / "clip.flv", lossless(tmp_path / "clip.flv")) == 0


def test_a_stream_whose_clock_wraps_is_whole(plain, tmp_path):
    ffmpeg("-i", plain, "-c", "copy", "-muxdelay", 0, "-output_ts_offset", 2**33 / 90000 - 3, tmp_path / "wraps.ts")
    assert difference(tmp_path / "wraps.ts", plain) == 0


@pytest.mark.parametrize("ending", ["mkv", "webm"])
def test_a_cut_off_file_that_starts_late_is_refused(ending, plain, tmp_path):
    codec = ["-c", "copy"] if ending == "mkv" else ["-c:v", "libvpx-vp9", "-cpu-used", 8]
    ffmpeg("-i", plain, *codec, "-output_ts_offset", 100, "-cluster_time_limit", 100, tmp_path / f"late.{ending}")
    assert load_clip(tmp_path / f"late.{ending}", CONFIG).duration_seconds == pytest.approx(2, abs=0.05)
    data = (tmp_path / f"late.{ending}").read_bytes()
    (tmp_path / f"half.{ending}").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=r"cut off: \d\.\d s of the 2\.0 s"):
        load_clip(tmp_path / f"half.{ending}", CONFIG)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_a_cut_off_moving_picture_is_refused(ending, tmp_path):
    frames = pictures()
    frames[0].save(tmp_path / f"whole.{ending}", save_all=True, append_images=frames[1:], duration=100)
    load_clip(tmp_path / f"whole.{ending}", CONFIG)
    data = (tmp_path / f"whole.{ending}").read_bytes()
    for part in (0.5, 0.99):
        (tmp_path / f"part.{ending}").write_bytes(data[: int(part * len(data))])
        with pytest.raises(VideoError, match="is cut off: its end is missing"):
            load_clip(tmp_path / f"part.{ending}", CONFIG)


# ---- names and pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Clip:1.mp4", "12:30:45.mp4", "data:x.mp4", "file:y.ts", "-v.mp4", "a%03d.mkv"])
def test_a_relative_name_may_look_like_anything(name, plain, tmp_path, monkeypatch):
    ffmpeg("-i", plain, "-c", "copy", tmp_path / f"any.{name.rpartition('.')[2]}")
    (tmp_path / f"any.{name.rpartition('.')[2]}").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert difference(Path(name), plain) == 0


def test_sound_with_one_picture_is_refused_as_such_and_one_picture_alone_is_a_video(tmp_path):
    cover = ("-f", "lavfi", "-i", "testsrc2=size=128x128:duration=0.04", "-c:v", "libx264")
    ffmpeg(*cover[:4], "-f", "lavfi", "-i", "sine=duration=3", *cover[4:], "-f", "mp4", tmp_path / "song.m4a")
    with pytest.raises(VideoError, match=r"song\.m4a is a still image, or sound with a cover picture \(h264\)"):
        load_clip(tmp_path / "song.m4a", CONFIG)
    ffmpeg(*cover, tmp_path / "one.mp4")
    assert set(load_clip(tmp_path / "one.mp4", CONFIG).frame_seconds) == {0.0}


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_frames_that_take_too_much_space_are_refused(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(shown, "MAX_COPY_BYTES", 1000)
    with pytest.raises(VideoError, match=r"marked\.mp4 take more than .* GiB"):
        load_clip(with_matrix(plain, tmp_path / "marked.mp4", -1, 0, 0, 1), CONFIG)


def test_a_missing_program_is_named_with_the_way_to_install_it(plain, tmp_path, monkeypatch):
    path = with_matrix(plain, tmp_path / "marked.mp4", -1, 0, 0, 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VideoError, match=r"marked\.mp4 takes FFmpeg's program, .* install it"):
        load_clip(path, CONFIG)


def bomb(path: Path, width: int, height: int, count: int = 8) -> Path:
    """An animated WebP whose header promises a large canvas, of which each frame paints one pixel."""
    frames = [Image.new("RGB", (64, 64), (20 * index, 0, 0)) for index in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    data = bytearray(path.read_bytes())
    data[24:27], data[27:30] = (width - 1).to_bytes(3, "little"), (height - 1).to_bytes(3, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [(16383, 16383, "16383 x 16383 pixels, larger than 8K"), (4000, 100, "one side may be 20 times the other")],
)
@pytest.mark.parametrize("read", [lambda path: load_clip(path, CONFIG), lambda path: write_preview(path, Path("no"))])
def test_an_animated_webp_is_measured_before_it_is_decoded(read, width, height, message, tmp_path, monkeypatch):
    path = bomb(tmp_path / "bomb.webp", width, height)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was made"))
    with pytest.raises(VideoError, match=message):
        read(path)


def test_an_animated_webp_that_takes_too_long_is_given_up(tmp_path):
    film = webp_film(bomb(tmp_path / "slow.webp", 64, 64))

    def frames():
        while True:
            time.sleep(0.05)
            yield bytes(64 * 64 * 3)

    with pytest.raises(VideoError, match=r"slow\.webp takes FFmpeg longer"):
        shown.ffmpeg(
            *raw_input(64, 64, 25), *("-f", "null", "-"), name=film.path.name, max_seconds=0.5, frames=frames()
        )


def test_frames_of_a_webp_that_take_too_much_space_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shown, "MAX_COPY_BYTES", 1000)
    with pytest.raises(VideoError, match=r"moves\.webp take more than .* GiB"):
        load_clip(bomb(tmp_path / "moves.webp", 64, 64), CONFIG)


def test_a_webp_of_countless_frames_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(webp, "MAX_CHUNKS", 5)
    with pytest.raises(VideoError, match="more than 5 frames"):
        load_clip(bomb(tmp_path / "many.webp", 64, 64), CONFIG)


def test_a_webp_with_a_damaged_frame_says_so(tmp_path):
    path = bomb(tmp_path / "damaged.webp", 64, 64)
    data = bytearray(path.read_bytes())
    data[-40:] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"damaged\.webp cannot be read as a video: "):
        load_clip(path, CONFIG)


def test_the_reason_quoted_is_the_fault_that_ffmpeg_found(plain, tmp_path):
    with pytest.raises(VideoError, match=r"plain\.mp4 cannot be read as a video: \w.*filter") as caught:
        shown.ffmpeg(*shown.source(plain), "-vf", "nosuchfilter", "-f", "null", "-", name=plain.name)
    assert "Conversion failed" not in str(caught.value)
    assert "[error]" not in str(caught.value)


PNG_PARTS = b"\x89PNG\r\n\x1a\n" + (bytes(4) + b"free" + bytes(4)) * 500_000
GIF_PARTS = b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"!\xfe\x00" * 2_000_000
ID3_TAGS = (b"ID3\x04" + bytes(6)) * 500_000
MP4_PARTS = b"\x00\x00\x00\x08wide" * 800_000


def test_a_walk_over_countless_empty_parts_is_given_up(tmp_path):
    (tmp_path / "parts").write_bytes(PNG_PARTS)
    assert not is_cut_off(tmp_path / "parts", PNG_PARTS[:16])
    (tmp_path / "parts").write_bytes(GIF_PARTS[:-1])
    begin = time.process_time()
    assert not is_cut_off(tmp_path / "parts", GIF_PARTS[:16])
    (tmp_path / "tags").write_bytes(ID3_TAGS)
    with pytest.raises(VideoError, match=r"begins with more than 100 tags \(ID3\)"):
        check_file(tmp_path / "tags")
    (tmp_path / "parts").write_bytes(MP4_PARTS)
    assert shown._marks(tmp_path / "parts") == (False, False)
    assert time.process_time() - begin < 3

"""A file that was cut off is told from one that is whole, and a damaged one from one that is sound."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from small_models import ffmpeg

from vjepa_demo.config import ClipConfig
from vjepa_demo.media.heard import listening
from vjepa_demo.media.video import check_file, decode_clip
from vjepa_demo.media.whole import is_cut_off, least_bytes
from vjepa_demo.schema import VideoError

CONFIG = ClipConfig(num_frames=4, crop_size=32)
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", 2, "-g", 12)
VP8 = ("-c:v", "libvpx", "-cpu-used", 8, "-deadline", "realtime", "-g", 12)
FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov")
KINDS: dict[str, tuple] = {  # each is written with sound, where there is a codec for it
    "plain.mp4": (*H264, "-c:a", "aac"),
    "first.mp4": (*H264, "-c:a", "aac", "-movflags", "+faststart"),
    "parts.mp4": (*H264, "-c:a", "aac", *FRAGMENTS),
    "index.mp4": (*H264, "-c:a", "aac", "-movflags", "+dash+global_sidx+frag_keyframe"),
    "plain.mkv": (*H264, "-c:a", "aac"),
    "plain.webm": (*VP8, "-c:a", "libopus"),
    "live.webm": (*VP8, "-c:a", "libopus", "-live", 1, "-cluster_time_limit", 300),
    "plain.avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "plain.flv": (*H264, "-c:a", "aac"),
    "plain.ts": (*H264, "-c:a", "aac"),
    "plain.m2ts": (*H264, "-c:a", "ac3"),
    "plain.mpg": ("-c:v", "mpeg1video", "-c:a", "mp2"),
    "plain.vob": ("-c:v", "mpeg2video", "-c:a", "ac3"),
    "plain.ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "plain.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
}
PIPED = {  # to a pipe, nobody can write sizes and lengths that are not known from the start
    "plain.mkv": "matroska",
    "plain.webm": "webm",
    "plain.avi": "avi",
    "plain.flv": "flv",
    "parts.mp4": "mp4",
    "plain.wmv": "asf",
    "plain.ogv": "ogg",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """Two seconds of a noisy picture and a tone, as files of each kind."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    picture = (
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=96x64:rate=24:duration=2,noise=alls=12:allf=t",
        "-pix_fmt",
        "yuv420p",
    )
    ffmpeg(*picture[:4], "-f", "lavfi", "-i", "sine=duration=2", "-c:v", "ffv1", "-c:a", "flac", folder / "source.mkv")
    for name, options in KINDS.items():
        ffmpeg("-i", folder / "source.mkv", *options, folder / name)
        found[name] = (folder / name).read_bytes()
    for name, form in PIPED.items():
        options = FRAGMENTS if form == "mp4" else ()
        command = ["ffmpeg", "-v", "error", "-i", str(folder / name), "-c", "copy", *options, "-f", form, "-"]
        done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        found[f"piped {name}"] = done.stdout
    return found


def missing(path: Path, data: bytes) -> int:
    """How many bytes a file of these lacks, by what stands in it."""
    path.write_bytes(data)
    return least_bytes(path) - len(data)


def test_whole_files_lack_nothing_and_cut_ones_do(files, tmp_path):
    for name, data in files.items():
        assert missing(tmp_path / "file", data) == 0, name
        for percent in range(20, 100, 10):
            assert missing(tmp_path / "file", data[: len(data) * percent // 100 // 192 * 192 + 101]) > 0, (
                name,
                percent,
            )


def test_padding_and_appended_data_are_no_missing_end(files, tmp_path):
    random = Random(3)
    junk = [b"\n", bytes(5), bytes(100_000), b"TAG" + bytes(125), b"APETAGEX" + random.randbytes(100), b"<html>" * 50]
    junk += [random.randbytes(random.randint(1, 3000)) for _ in range(10)]
    for name, data in files.items():
        for appended in junk:
            assert missing(tmp_path / "file", data + appended) == 0, (name, appended[:20])


def elements(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, size and content of each element of a Matroska file, cut where a segment or a cluster begins."""
    place = 0
    while place < len(data):
        name = data[place : place + 9 - data[place].bit_length()]
        begin = place + len(name)
        size = data[begin : begin + 9 - data[begin].bit_length()]
        begin += len(size)
        is_open = name in (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75")
        place = begin + (0 if is_open else int.from_bytes(size, "big") & ((1 << 7 * len(size)) - 1))
        yield name, b"\x01" + b"\xff" * 7 if is_open else size, data[begin:place]


def recorded(data: bytes) -> bytes:
    """As a browser's MediaRecorder writes it: no sizes of segment and clusters, no index."""
    indices = (b"\x1c\x53\xbb\x6b", b"\x11\x4d\x9b\x74")
    return b"".join(b"".join(element) for element in elements(data) if element[0] not in indices)


def test_recordings_and_edited_files_are_whole(files, tmp_path):
    stream, packets = files["plain.ts"], len(files["plain.ts"]) // 188
    index = files["first.mp4"].find(b"mdat") - 4
    stale, unknown = bytearray(files["plain.flv"]), bytearray(files["plain.avi"])
    promise = stale.find(b"\x08filesize\x00") + 10
    stale[promise : promise + 8] = struct.pack(">d", 9e6)  # of the file that it was cut from, without its end
    unknown[4:8] = bytes(4)
    whole = {
        "a browser's recording": recorded(files["piped plain.webm"]),
        "a stream with null packets": stream + (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 50,
        "a recording from the middle": stream[packets // 3 * 188 :],
        "the same, not at a packet": stream[packets // 3 * 188 + 50 :],
        "two joined streams": 2 * stream,
        "two joined Ogg files": 2 * files["plain.ogv"],
        "fragments without an index": files["parts.mp4"][: files["parts.mp4"].rfind(b"mfra") - 4],
        "frames up to the end": files["first.mp4"][:index] + bytes(4) + files["first.mp4"][index + 4 :],
        "a Flash video with an old length": bytes(stale),
        "an AVI without a length": bytes(unknown),
        "an AVI without its index": files["plain.avi"][: files["plain.avi"].rfind(b"idx1")],
    }
    for name, data in whole.items():
        assert missing(tmp_path / "file", data) == 0, name
    half = recorded(files["piped plain.webm"])
    assert missing(tmp_path / "file", half[: len(half) // 2]) > 0


def clip_of(path: Path, data: bytes):
    path.write_bytes(data)
    return decode_clip(path, CONFIG)


@pytest.mark.parametrize("name", ["piped plain.avi", "piped plain.mkv", "piped plain.webm", "piped plain.wmv"])
def test_a_file_from_a_pipe_is_scored_without_a_note(name, files, tmp_path):
    clip = clip_of(tmp_path / name.replace(" ", "."), files[name])
    assert clip.notes == ()
    assert clip.duration_seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "percent", "message"),
    [
        ("plain.mp4", 50, r"cut off: [\d,]+ of the [\d,]+ bytes"),  # its index was at the end
        ("parts.mp4", 70, r"cut off: [\d,]+ of the [\d,]+ bytes"),
        ("plain.mkv", 50, r"cut off: 1\.\d s of the 2\.0 s"),
        ("plain.flv", 50, r"cut off: [\d,]+ of the [\d,]+ bytes"),
        ("plain.wmv", 50, r"cut off: [\d,]+ of the [\d,]+ bytes"),
    ],
)
def test_a_file_with_sound_that_lacks_its_end_is_refused(name, percent, message, files, tmp_path):
    with pytest.raises(VideoError, match=message):
        clip_of(tmp_path / name, files[name][: len(files[name]) * percent // 100])


@pytest.mark.parametrize("name", ["plain.ts", "plain.mpg"])
def test_of_a_stream_without_a_length_is_said_how_much_was_read(name, files, tmp_path):
    clip = clip_of(tmp_path / name, files[name][: len(files[name]) * 6 // 10 | 1])
    assert clip.duration_seconds < 1.6
    assert clip.notes[0] == (
        "The file ends in the middle of a frame, as if it were cut off: "
        f"the {clip.duration_seconds:.1f} s that are there were scored."
    )


def test_a_recording_that_begins_between_two_key_frames_is_not_damaged(files, tmp_path):
    data = files["plain.ts"]
    clip = clip_of(tmp_path / "middle.ts", data[len(data) // 3 // 188 * 188 :])
    assert clip.notes == ()
    assert 0.5 < clip.duration_seconds < 1.6


def flipped(data: bytes, count: int) -> bytes:
    """`count` bits of the second half are the other way round."""
    random, damaged = Random(1), bytearray(data)
    for _ in range(count):
        damaged[random.randrange(len(data) // 2, len(data) - 1000)] ^= 1 << random.randrange(8)
    return bytes(damaged)


def test_few_damaged_frames_are_told_and_many_are_refused(files, tmp_path):
    (note,) = clip_of(tmp_path / "few.avi", flipped(files["plain.avi"], 2)).notes
    assert note.startswith("The file is damaged: ")
    assert note.endswith(" of its 48 frames cannot be read without an error. Scores may be too low.")
    many = bytearray(files["plain.ts"])
    for place in range(20 * 188, len(many), 188):
        many[place + 100] ^= 0x55
    with pytest.raises(VideoError, match=r"many\.ts is damaged: \d+ of its \d+ frames can be read without an error"):
        clip_of(tmp_path / "many.ts", bytes(many))


def test_a_gif_that_goes_on_with_something_else_is_refused(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=1", tmp_path / "whole.gif")
    data = (tmp_path / "whole.gif").read_bytes()
    assert not is_cut_off(tmp_path / "whole.gif", data[:512])
    for appended in (bytes(1000), b"TAG" + bytes(125)):
        (tmp_path / "more.gif").write_bytes(data + appended)
        assert not is_cut_off(tmp_path / "more.gif", data[:512])
    (tmp_path / "hole.gif").write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 40 :])
    assert is_cut_off(tmp_path / "hole.gif", data[:512])
    check_file(tmp_path / "hole.gif")  # a page calls this in its own process: it walks over no file
    with pytest.raises(VideoError, match=r"hole\.gif is cut off: its end is missing"):
        decode_clip(tmp_path / "hole.gif", CONFIG)


def test_what_ffmpeg_says_is_heard_and_what_others_say_is_passed_on(capfd):
    with listening() as heard:
        os.write(2, b"[h264 @ 0x55661236f5c0] error while decoding MB 5 0\nsomebody else\n")
        os.write(2, b"[h264 @ 0x55661236f5c0] co located POCs unavailable\n")
    assert heard.errors == ("[h264 @ 0x55661236f5c0] error while decoding MB 5 0",)
    assert capfd.readouterr().err == "somebody else\n"

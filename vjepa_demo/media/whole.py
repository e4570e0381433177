"""Whether a file ends before it should, where its format says so without being decoded."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

MATROSKA, FLV = b"\x1a\x45\xdf\xa3", b"FLV"
PNG = b"\x89PNG\r\n\x1a\n"
GIF_TRAILER, GIF_EXTENSION, GIF_PICTURE = 0x3B, 0x21, 0x2C
OGG, MPEG_PACK = b"OggS", b"\x00\x00\x01\xba"
HEAD_BYTES = 4096
MAX_TAIL_BYTES = 2**18  # the largest page or packet is a quarter of it
SURE_STEPS = 4  # from part to part: so many do not fit by chance
MAX_INDEX_BYTES = 64 * 2**20  # of an MP4 file, and where the frames of an ASF begin at most
MP4_BOXES = {
    *(b"ftyp", b"moov", b"meta", b"mdat", b"wide", b"free", b"skip", b"uuid", b"pnot", b"styp", b"sidx", b"ssix"),
    *(b"moof", b"mfra", b"prft", b"emsg", b"pdin", b"udta"),
}
MP4_FRAMES = {b"moov", b"moof", b"mdat"}  # without any other box a video plays
EBML_SEGMENT, EBML_CLUSTER = 0x18538067, 0x1F43B675
EBML_ELEMENTS = {
    # The head of the file, segment, places of the others, information, tracks and clusters of frames;
    *(0x1A45DFA3, EBML_SEGMENT, 0x114D9B74, 0x1549A966, 0x1654AE6B, EBML_CLUSTER),
    # index, tags, chapters, attachments, padding, checksum.
    *(0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0xEC, 0xBF),
}
EBML_TRAILERS = {0x1C53BB6B, 0x1254C367, 0x1941A469, 0x114D9B74, 0xEC, 0xBF}  # no frame is missing with them
EBML_CLUSTER_FIELDS = {0xE7, 0xA7, 0xAB}  # time, place, size of the one before
EBML_BLOCKS = {0xA3: range(0x81, 0xC0), 0xA0: (0xA1,)}  # and how their data begin: a number of a track, a block
AVI_CHUNK = re.compile(rb"\d\d(dc|db|wb|tx|pc)|idx1|JUNK|ix\d\d")
UNKNOWN_RIFF_SIZE, AVI_SLACK = 0xFFFFFF00, 10  # some count the head of the file, or the byte that makes a size even
FLV_TAGS, MAX_FLASH_BYTES = {8, 9, 18}, 2**40
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_HEAD_BYTES, ASF_DATA_HEAD_BYTES, ASF_BROADCAST, ASF_PACKET = 30, 50, 1, b"\x82\x00\x00"
TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes of a packet, and of the clock before its first
TS_TAIL_PACKETS = 32
MAX_STEPS = 100_000  # over parts of a file: one of more is not known to be cut off
WHOLE_SHARE = 0.95  # of a GIF that lies before what is no part of it
USUAL_BLOCK_BYTES = 128  # at least, of those that a GIF cuts its pictures into


def signature(path: Path) -> str:
    """ "matroska" (or WebM), "flv" and "avi", by how a file begins; of all others nothing."""
    with path.open("rb") as file:
        head = file.read(12)
    if head.startswith(MATROSKA):
        return "matroska"
    return "flv" if head.startswith(FLV) else "avi" if _is_avi(head) else ""


def is_size_known(path: Path) -> bool:
    """Whether an AVI tells its size: one that was written to a pipe does not."""
    with path.open("rb") as file:
        return 0 < int.from_bytes(file.read(8)[4:], "little") < UNKNOWN_RIFF_SIZE


def _is_avi(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"AVI "


def is_cut_off(path: Path, head: bytes) -> bool:
    """Whether the end of an APNG, a GIF or a WebP is missing.

    `head` is how the file begins. Of other formats, whose headers promise a length or nothing, this knows nothing.
    """
    if head.startswith(PNG):
        return _is_png_cut_off(path)
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _is_gif_cut_off(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return path.stat().st_size < 8 + int.from_bytes(head[4:8], "little")
    return False


def _is_png_cut_off(path: Path) -> bool:
    """Whether no chunk that ends a picture is met, from chunk to chunk."""
    with path.open("rb") as file:
        file.seek(len(PNG))
        for _ in range(MAX_STEPS):
            chunk = file.read(8)
            if len(chunk) < 8:
                return True
            if chunk[4:] == b"IEND":
                return False
            file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)  # its data, and their checksum
    return False


def _is_gif_cut_off(path: Path) -> bool:
    """Whether a GIF ends inside a picture. One without the byte that ends a GIF is whole for every player."""
    num_steps, max_steps = 0, MAX_STEPS + path.stat().st_size // USUAL_BLOCK_BYTES
    with path.open("rb") as file:

        def colours_bytes(flags: int) -> int:
            return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

        def byte() -> int:
            nonlocal num_steps
            num_steps += 1
            if num_steps > max_steps:
                raise TimeoutError
            return file.read(1)[0]

        def skip_blocks() -> None:
            while size := byte():
                file.seek(size, os.SEEK_CUR)

        try:
            file.seek(10)
            file.seek(2 + colours_bytes(byte()), os.SEEK_CUR)
            while (mark := file.read(1)) and mark[0] in (GIF_EXTENSION, GIF_PICTURE):
                if mark[0] == GIF_EXTENSION:
                    file.seek(1, os.SEEK_CUR)
                else:
                    file.seek(8, os.SEEK_CUR)
                    file.seek(colours_bytes(byte()) + 1, os.SEEK_CUR)
                skip_blocks()
            # Something else far from the end: a part of the file was lost, or is there twice.
            is_lost = mark and mark[0] not in (0, GIF_TRAILER)
            return bool(is_lost) and file.tell() < WHOLE_SHARE * path.stat().st_size
        except IndexError:
            return True
        except TimeoutError:
            return False


class _CutError(Exception):
    """The file ends before the place that something in it leads to."""

    def __init__(self, place: int) -> None:
        self.place = place


def least_bytes(path: Path) -> int:
    """How many bytes a file should have at least, by the sizes that stand in it: more than it has if its end is
    missing, else what it has.

    Recordings that were stopped, files written to a pipe, padding and appended data are whole: a size that nobody knew
    when it was written counts for nothing, and what no player reads does not either.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        walk = _walk_of(head)
        if walk is None:
            return size
        try:
            return max(walk(_Reader(file, size), head), size)
        except _CutError as cut:
            return max(cut.place, size + 1)


class _Reader:
    """A file, read by place."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def __call__(self, place: int, length: int) -> bytes:
        """The bytes at a place; raises _CutError if they are not all there."""
        if place + length > self.size:
            raise _CutError(place + length)
        self.file.seek(place)
        return self.file.read(length)

    def tail(self, length: int) -> tuple[int, bytes]:
        """The last bytes, and where they begin."""
        place = max(0, self.size - length)
        return place, self(place, self.size - place)


_Walk = Callable[[_Reader, bytes], int]


def _walk_of(head: bytes) -> _Walk | None:
    if head.startswith(MATROSKA):
        return _matroska
    if head.startswith(FLV):
        return _flash
    if head.startswith(OGG):
        return _ogg
    if head.startswith(ASF):
        return _asf
    if head.startswith(MPEG_PACK):
        return _program_stream
    if _is_avi(head):
        return _avi
    if head[4:8] in MP4_BOXES:
        return _mp4
    if any(_packets(head, *kind) for kind in TS_PACKETS):
        return _transport_stream
    return None


def _mp4(read: _Reader, head: bytes) -> int:
    """Where the last box ends, or the last part that an index of segments (`sidx`) names."""
    place = least = 0
    for _ in range(MAX_STEPS):
        if place + 8 > read.size:
            break
        box = read(place, 8)
        size, kind, begin = int.from_bytes(box[:4], "big"), box[4:], 8
        if kind not in MP4_BOXES or size == 0:  # what follows is no part of the video, or the box goes on to the end
            break
        if size == 1:
            size, begin = int.from_bytes(read(place + 8, 8), "big"), 16
        if size < begin:
            break
        if kind == b"sidx" and size < MAX_INDEX_BYTES:
            least = max(least, place + size + _segments_bytes(read(place + begin, size - begin)))
        place += size
        if kind in MP4_FRAMES:
            least = max(least, place)
    return least


def _segments_bytes(index: bytes) -> int:
    """The bytes of the parts that a `sidx` names, from its own end on (ISO/IEC 14496-12, 8.16.3)."""
    wide = 8 if index[:1] == b"\x01" else 4
    place = 12 + wide  # after the flags, the track, its clock and the first time
    offset = int.from_bytes(index[place : place + wide], "big")
    entries = index[place + wide + 4 :]
    return offset + sum(
        int.from_bytes(entries[entry : entry + 4], "big") & 0x7FFFFFFF for entry in range(0, len(entries), 12)
    )


def _matroska(read: _Reader, head: bytes) -> int:
    """Where the segment ends, or the last part of it. Live recordings know neither the size of the segment nor, from a
    browser, that of a cluster: there the blocks tell. Where only what follows the frames is missing, none is."""
    place, segment_end, in_cluster = 0, None, False  # of unknown size
    for _ in range(MAX_STEPS):
        if place >= read.size:
            return segment_end or place
        try:
            name, size, begin = _element(read, place)
        except _CutError:
            return segment_end or 0  # a byte or two: nothing, or the head of one more part
        if name not in EBML_ELEMENTS and not (in_cluster and _is_block(read, name, size, begin)):
            return 0  # appended data
        if name == EBML_SEGMENT:
            place, segment_end = begin, begin + size if size else None
        elif size is None:
            place, in_cluster = begin, name == EBML_CLUSTER  # into it
        elif begin + size > read.size:
            return 0 if name in EBML_TRAILERS else segment_end or begin + size
        else:
            place = begin + size
    return 0


def _is_block(read: _Reader, name: int, size: int | None, begin: int) -> bool:
    """Whether an element is a part of a cluster, and no data that happen to begin like one."""
    if size is None or name not in EBML_BLOCKS:
        return name in EBML_CLUSTER_FIELDS and size is not None and size <= 8
    return size > 4 and begin < read.size and read(begin, 1)[0] in EBML_BLOCKS[name]


def _element(read: _Reader, place: int) -> tuple[int, int | None, int]:
    """Name, size (None: unknown) and the place of the data of an EBML element (RFC 8794)."""
    first = read(place, 1)[0]
    name_bytes = 9 - first.bit_length()
    if name_bytes > 4:
        return 0, None, place
    name = int.from_bytes(read(place, name_bytes), "big")
    if not (name in EBML_ELEMENTS or name in EBML_BLOCKS or name in EBML_CLUSTER_FIELDS):
        return 0, None, place
    place += name_bytes
    first = read(place, 1)[0]
    size_bytes = 9 - first.bit_length()
    if size_bytes > 8:
        return 0, None, place
    size = int.from_bytes(read(place, size_bytes), "big") & ((1 << 7 * size_bytes) - 1)
    return name, None if size == (1 << 7 * size_bytes) - 1 else size, place + size_bytes


def _avi(read: _Reader, head: bytes) -> int:
    """Where the last list of frames ends (`movi`), or in one that does not tell its size, the last frame."""
    place = least = 0
    for _ in range(MAX_STEPS):
        if place + 12 > read.size:
            break
        chunk = read(place, 12)
        size = int.from_bytes(chunk[4:8], "little")
        end = place + 8 + size + size % 2
        if chunk[:4] == b"RIFF" or (chunk[:4] == b"LIST" and not 0 < size < UNKNOWN_RIFF_SIZE):
            place += 12  # into it
            continue
        if chunk[:4] != b"LIST" and not AVI_CHUNK.fullmatch(chunk[:4]):
            break  # appended data
        if chunk[:4] != b"idx1":
            least = end - AVI_SLACK
        place = end
    return least


def _flash(read: _Reader, head: bytes) -> int:
    """Where the last tag ends; if that is past the end, what the metadata promise, if they do."""
    last = int.from_bytes(read.tail(4)[1], "big")
    if 11 <= last <= read.size - 4:
        tag = read(read.size - 4 - last, 4)
        if tag[0] & 0x1F in FLV_TAGS and int.from_bytes(tag[1:], "big") == last - 11:
            return read.size
    place = int.from_bytes(head[5:9], "big") + 4
    for _ in range(MAX_STEPS):
        if place >= read.size:
            break
        tag = read(place, min(11, read.size - place))
        if tag[0] & 0x1F not in FLV_TAGS or any(tag[8:11]):
            return read.size  # appended data
        end = place + 11 + int.from_bytes(tag[1:4], "big") + 4
        if end > read.size:
            promise = re.search(rb"\x00\x08filesize\x00(.{8})", head, re.DOTALL)
            (promised,) = struct.unpack(">d", promise[1]) if promise else (0.0,)
            return int(promised) if end < promised < MAX_FLASH_BYTES else max(end, read.size + 1)
        place = end
    return read.size


def _asf(read: _Reader, head: bytes) -> int:
    """Where the last packet ends, by their number and size; of a broadcast, that of the packet at the end."""
    properties, data = head.find(ASF_PROPERTIES), int.from_bytes(head[16:24], "little")
    if properties < 0 or properties + 104 > len(head):
        return 0
    count, flags, packet_bytes = (
        int.from_bytes(head[properties + begin : properties + begin + length], "little")
        for begin, length in ((56, 8), (88, 4), (92, 4))
    )
    begin = data + ASF_DATA_HEAD_BYTES
    if not ASF_HEAD_BYTES <= data < read.size or not packet_bytes:
        return begin if data >= ASF_HEAD_BYTES and data < MAX_INDEX_BYTES else 0
    if not flags & ASF_BROADCAST:
        return begin + count * packet_bytes if count < 2**32 else 0
    if read.size <= begin:
        return begin
    rest = (read.size - begin) % packet_bytes
    is_packet = read(read.size - rest, min(rest, 3)) == ASF_PACKET[: min(rest, 3)]
    return read.size - rest + packet_bytes if rest and is_packet else 0


def _ogg(read: _Reader, head: bytes) -> int:
    """Where the last page ends (RFC 3533, 6)."""
    place, tail = read.tail(MAX_TAIL_BYTES)
    least, at = 0, tail.find(OGG)
    while at >= 0:
        end = at + 27 + tail[at + 26] if at + 27 <= len(tail) else len(tail) + 1
        end += sum(tail[at + 27 : end])
        if end >= len(tail):
            return place + end
        at, least = end if tail[end : end + 4] == OGG else tail.find(OGG, at + 1), end
    return place + least


def _program_stream(read: _Reader, head: bytes) -> int:
    """Where the last packet ends (ISO/IEC 13818-1, 2.5.3): the walk begins at a pack near the end."""
    place, tail = read.tail(MAX_TAIL_BYTES)
    at = tail.find(MPEG_PACK)
    steps, begin = 0, at
    while at >= 0:
        if at + 6 > len(tail):
            return place + at + 6 if tail[at:] == (MPEG_PACK[:3] + tail[at + 3 :])[: len(tail) - at] else 0
        code, size = tail[at + 3], int.from_bytes(tail[at + 4 : at + 6], "big")
        if tail[at : at + 3] != MPEG_PACK[:3] or code < 0xB9:
            if steps >= SURE_STEPS:
                return 0  # padding, or appended data
            begin = at = tail.find(MPEG_PACK, begin + 1)  # the code of a pack was chance
            steps = 0
            continue
        steps += 1
        if code == 0xB9:
            at += 4
        elif code == 0xBA:  # of MPEG-2 or MPEG-1
            stuffing = tail[at + 13] & 7 if at + 14 <= len(tail) else 0
            at += 14 + stuffing if tail[at + 4] & 0xC0 == 0x40 else 12
        else:
            at += 6 + size
        if at >= len(tail):
            return place + at
    return 0


def _transport_stream(read: _Reader, head: bytes) -> int:
    """Where the last packet ends."""
    packet_bytes, before = next(kind for kind in TS_PACKETS if _packets(head, *kind))
    _, tail = read.tail(TS_TAIL_PACKETS * packet_bytes)
    for rest in range(before + 1, packet_bytes):  # of a packet at the end
        starts = range(len(tail) - rest + before, -1, -packet_bytes)
        if len(starts) > SURE_STEPS and all(tail[at] == 0x47 for at in starts):
            return read.size - rest + packet_bytes
    return 0


def _packets(head: bytes, packet_bytes: int, before: int) -> bool:
    """Whether a file begins with packets of a transport stream, each after some bytes of a clock."""
    return len(head) > packet_bytes + before and all(head[at] == 0x47 for at in range(before, len(head), packet_bytes))

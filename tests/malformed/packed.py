"""Files packed with gzip, and archives given for a file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

from tests.malformed.case import CSV, JSON_LINES, TSV, Case, Content, harmless, training_file

LINES = JSON_LINES.encode()
GZ = gzip.compress(LINES)
FILE = "train.jsonl.gz"


def _zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, JSON_LINES)
    return file.getvalue()


def _tar(name: str, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo(name)
        member.size = len(LINES)
        archive.addfile(member, io.BytesIO(LINES))
    return file.getvalue()


PACKED: dict[str, tuple[Content, ...]] = {
    "cut in half": (GZ[: len(GZ) // 2], "cannot be unpacked", "pack the complete file again"),
    "cut by a byte": (GZ[:-1], "cannot be unpacked", "pack the complete file again"),
    "its head alone": (GZ[:10], "cannot be unpacked", "pack the complete file again"),
    "its mark alone": (GZ[:2], "cannot be unpacked", "pack the complete file again"),
    "a wrong checksum": (GZ[:-8] + bytes(4) + GZ[-4:], "cannot be unpacked", "pack the complete file again"),
    "zeros inside": (GZ[:20] + bytes(20) + GZ[40:], "train.jsonl.gz", "again"),
    "text behind it": (GZ + b"more", "cannot be unpacked", "pack the complete file again"),
    "not packed": (LINES, "is not packed with gzip; name it train.jsonl"),
    "empty": (b"", "is not packed with gzip; name it train.jsonl"),
    "nothing packed": (gzip.compress(b""), "has no rows; give"),
    "packed twice": (gzip.compress(GZ), "train.jsonl.gz, line 1", "UTF-8"),
    "a cut line": (gzip.compress(LINES[:-20]), "train.jsonl.gz, line 3", "each line holds one whole JSON object"),
    "an empty text": (gzip.compress(LINES + b'{"anchor": "", "positive": "p"}'), "row 4", "is empty; remove the row"),
    "Latin-1": (gzip.compress(LINES + b'{"anchor": "\xe4"}'), "train.jsonl.gz, line 4", "UTF-8"),
    "32 million zeros": (gzip.compress(bytes(32_000_000)), "unpacks to more than 200 times its", "unpack it yourself"),
    "one line of 32 MB": (gzip.compress(b" " * 32_000_000), "unpacks to more than 200 times its", "unpack it yourself"),
    "a zip archive": (_zip("train.jsonl"), "is a zip archive; unpack it"),
    "a tar archive in it": (_tar("train.jsonl", "w:gz"), "train.jsonl.gz", ";"),
}
ARCHIVES: dict[str, tuple[Content, ...]] = {
    "gzip without .gz": (GZ, "is packed with gzip; name it train.jsonl.gz"),
    "a zip archive": (_zip("train.jsonl"), "is a zip archive; unpack it"),
    "a zip archive that leads out": (_zip("../../evil.jsonl", "/etc/evil.jsonl"), "is a zip archive; unpack it"),
    "a tar archive": (_tar("train.jsonl"), "is a tar archive; unpack it"),
    "a tar archive that leads out": (_tar("../../evil.jsonl"), "is a tar archive; unpack it"),
    "bzip2": (bz2.compress(LINES), "is packed with bzip2; unpack it"),
    "xz": (lzma.compress(LINES), "is packed with xz; unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(40), "is packed with zstd; unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(40), "is a 7z archive; unpack it"),
    "rar": (b"Rar!\x1a\x07" + bytes(40), "is a rar archive; unpack it"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(40), "is packed with lz4; unpack it"),
}

CASES: list[Case] = [
    *(
        training_file(f"gz: {name}", data, *map(str, says), file=FILE, clean=GZ)
        for name, (data, *says) in PACKED.items()
    ),
    *(
        training_file(f"packed: {name}", data, *map(str, says), clean=JSON_LINES)
        for name, (data, *says) in ARCHIVES.items()
    ),
    training_file(
        "packed: a zip archive named .csv", _zip("a"), "is a zip archive; unpack", file="train.csv", clean=CSV
    ),
    training_file("packed: a zip archive named .json", _zip("a"), "is a zip archive; unpack", file="train.json"),
    training_file("gz: Parquet", GZ, "unknown ending '.parquet.gz'; use", file="train.parquet.gz"),
    training_file("gz: no ending before it", GZ, "unknown ending '.gz'; use", file="train.gz"),
    training_file("gz: another ending before it", GZ, "unknown ending '.txt.gz'; use", file="train.txt.gz"),
    training_file("tar.gz", _tar("a", "w:gz"), "unknown ending '.tar.gz'; use", file="train.tar.gz"),
    training_file("zip", _zip("a"), "unknown ending '.zip'; use", file="train.zip"),
    harmless("gz: JSON lines", GZ, FILE),
    harmless("gz: two members", gzip.compress(LINES[:40]) + gzip.compress(LINES[40:]), FILE),
    harmless("gz: CSV", gzip.compress(CSV.encode()), "train.csv.gz"),
    harmless("gz: TSV with a byte order mark", gzip.compress(b"\xef\xbb\xbf" + TSV.encode()), "train.tsv.gz"),
]

import io
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from abair_pl.data.decode import MAX_MEMBER_BYTES, MAX_SAMPLE_BYTES
from abair_pl.data.streaming import archive
from abair_pl.data.streaming.archive import read_samples
from abair_pl.errors import ShardError

WriteTar = Callable[[Path, Mapping[str, bytes]], str]


def _tar(path: Path, *entries: tarfile.TarInfo) -> str:
    """A shard of members without content, behind a photograph."""
    photograph = tarfile.TarInfo("a.png")
    photograph.size = 4
    with tarfile.open(path, "w") as shard:
        shard.addfile(photograph, io.BytesIO(b"data"))
        for entry in entries:
            shard.addfile(entry, io.BytesIO(bytes(entry.size)))
    return str(path)


def _entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = target
    return entry


@pytest.mark.parametrize("kept", [0, 100, 700])
def test_a_shard_cut_short_is_named(clean_shards: Path, tmp_path: Path, kept: int) -> None:
    shard = tmp_path / "short.tar"
    shard.write_bytes((clean_shards / "clean-000000.tar").read_bytes()[:kept])
    with pytest.raises(ShardError, match=r"short\.tar"):
        list(read_samples([str(shard)]))


@pytest.mark.parametrize("kept", [0, 1, 100, 511])
def test_a_shard_cut_short_in_a_later_header_is_named(tmp_path: Path, write_tar: WriteTar, kept: int) -> None:
    shard = Path(write_tar(tmp_path / "short.tar", {"a.png": b"first", "b.png": b"second"}))
    shard.write_bytes(shard.read_bytes()[: 2 * 512 + kept])  # after a header and a block of data
    samples = read_samples([str(shard)])
    with pytest.raises(ShardError, match=r"short\.tar: not a readable shard"):
        list(samples)


def test_a_shard_with_a_damaged_later_header_is_named(tmp_path: Path, write_tar: WriteTar) -> None:
    shard = Path(write_tar(tmp_path / "damaged.tar", {"a.png": b"first", "b.png": b"second"}))
    data = bytearray(shard.read_bytes())
    data[2 * 512] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ShardError, match=r"damaged\.tar: not a readable shard"):
        list(read_samples([str(shard)]))


@pytest.mark.parametrize("kind", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_archive_is_refused_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shard = tmp_path / "packed.tar"
    with tarfile.open(shard, kind) as packed:  # type: ignore[call-overload]
        packed.addfile(_entry("a.png"))
    monkeypatch.setattr(tarfile, "open", lambda *arguments, **options: pytest.fail("it was opened"))
    with pytest.raises(ShardError, match=r"packed\.tar is a compressed archive; expected a plain \.tar"):
        list(read_samples([str(shard)]))


def test_members_of_a_key_make_a_sample(tmp_path: Path, write_tar: WriteTar) -> None:
    members = {"x/a.input.PNG": b"1", "x/a.json": b"2", "b.png": b"3"}
    shard = write_tar(tmp_path / "s.tar", members)
    first, second = read_samples([shard])
    assert first == {"__key__": "x/a", "__url__": shard, "input.png": b"1", "json": b"2"}
    assert second == {"__key__": "b", "__url__": shard, "png": b"3"}


def test_folders_are_passed_over(tmp_path: Path) -> None:
    shard = _tar(tmp_path / "s.tar", _entry("photographs", tarfile.DIRTYPE))
    assert [sample["__key__"] for sample in read_samples([shard])] == ["a"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (_entry("b.png", tarfile.SYMTYPE, "/etc/passwd"), "'b.png' in .* is a link"),
        (_entry("b.png", tarfile.LNKTYPE, "a.png"), "'b.png' in .* is a link"),
        (_entry("b.png", tarfile.CHRTYPE), "'b.png' in .* is not a plain file"),
        (_entry("b.png", tarfile.FIFOTYPE), "'b.png' in .* is not a plain file"),
        (_entry("../b.png"), "'../b.png' in .* points out of the archive"),
        (_entry("x/../../b.png"), "points out of the archive"),
        (_entry("..\\b.png"), "points out of the archive"),
        (_entry("/etc/b.png"), "'/etc/b.png' in .* points out of the archive"),
        (_entry("../folder", tarfile.DIRTYPE), "points out of the archive"),
        (_entry("b\x1b[31m.png"), "has a name with control characters"),
        (_entry("README"), "'README' in .* has no key and suffix"),
        (_entry(".hidden.png"), "has no key and suffix"),
    ],
)
def test_what_does_not_belong_into_a_shard_is_refused_by_name(
    tmp_path: Path, entry: tarfile.TarInfo, said: str
) -> None:
    with pytest.raises(ShardError, match=said) as error:
        list(read_samples([_tar(tmp_path / "bad.tar", entry)]))
    assert "bad.tar" in str(error.value)


def test_a_member_beyond_the_limit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1000)
    large = _entry("b.png")
    large.size = 1001
    shard = Path(_tar(tmp_path / "bomb.tar", large))
    shard.write_bytes(shard.read_bytes()[: 3 * 512])  # the header alone
    with pytest.raises(ShardError, match=r"'b\.png' in .*bomb\.tar has 1001 bytes, more than 1000"):
        list(read_samples([str(shard)]))


def test_a_sample_beyond_the_limit_is_refused_before_its_last_member_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tar: WriteTar
) -> None:
    monkeypatch.setattr(archive, "MAX_SAMPLE_BYTES", 1000)
    members = {"a.input.png": bytes(600), "b.input.png": bytes(600), "b.json": bytes(400)}
    assert len(list(read_samples([write_tar(tmp_path / "s.tar", members)]))) == 2
    shard = write_tar(tmp_path / "bomb.tar", {**members, "b.target.png": b"1"})
    with pytest.raises(ShardError, match=r"'b\.target\.png' in .*bomb\.tar is of a sample of 1001 bytes so far, more"):
        list(read_samples([shard]))


def test_limits_are_for_files_and_samples_of_photographs() -> None:
    assert (MAX_MEMBER_BYTES, MAX_SAMPLE_BYTES) == (128 * 2**20, 256 * 2**20)


def test_an_endless_name_is_refused_before_it_is_read(tmp_path: Path) -> None:
    shard = _tar(tmp_path / "name.tar", _entry("x" * (1 << 17) + ".png"))
    with pytest.raises(ShardError, match=r"name\.tar: not a readable shard \(a name of"):
        list(read_samples([shard]))


@pytest.mark.parametrize(
    "names", [("a.png", "a.png"), ("a.png", "a.PNG"), ("a.png", "b.png", "a.png"), ("a.png", "b.png", "a.json")]
)
def test_a_name_or_a_sample_that_is_there_twice_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ShardError, match=r"s\.tar: not a readable shard \(.*(duplicate file name|is there twice)"):
        list(read_samples([_tar(tmp_path / "s.tar", *(_entry(name) for name in names[1:]))]))


def test_pickles_are_handed_on_as_bytes(tmp_path: Path, write_tar: WriteTar) -> None:
    data = pickle.dumps({"a": 1})
    (sample,) = read_samples([write_tar(tmp_path / "s.tar", {"a.pkl": data})])
    assert sample["pkl"] == data

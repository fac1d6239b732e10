import hashlib
from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io import digest
from ames_lite.io.digest import array_digest, file_digest, file_identity, names_digest


def test_no_two_name_lists_share_a_digest() -> None:
    lists = [[], [""], ["ab"], ["a", "b"], ["b", "a"], ["a\nb"], ["a", "", "b"], ["\udcff"]]
    assert len({names_digest(names) for names in lists}) == len(lists)


def test_a_file_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 1000)
    assert file_digest(tmp_path / "x") == hashlib.sha256(b"abc" * 1000).hexdigest()
    with pytest.raises(MissingFile, match="absent"):
        file_digest(tmp_path / "absent")


def test_a_changed_byte_changes_the_identity_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = tmp_path / "x", bytes(200)

    def identity(at: int | None = None, more: bytes = b"") -> str:
        changed = bytearray(content + more)
        if at is not None:
            changed[at] ^= 1
        path.write_bytes(changed)
        return file_identity(path)

    whole = identity()
    assert whole.startswith("200 bytes, xxh3 ") and identity(more=b"\0") != whole
    assert len({whole, *map(identity, range(200))}) == 201
    monkeypatch.setattr(digest, "BLOCK_BYTES", 16)
    monkeypatch.setattr(digest, "BLOCKS", 4)  # of a file of more than 64 bytes 16 of every 50
    parts = identity()
    seen = [at for at in range(200) if identity(at) != parts]
    assert seen == [at for at in range(200) if at % 50 < 16]
    assert identity(more=b"\0") != parts
    path.write_bytes(b"")
    assert file_identity(path).startswith("0 bytes")
    with pytest.raises(MissingFile, match="absent"):
        file_identity(tmp_path / "absent")


def test_layout_and_byte_order_do_not_enter_an_array_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
    whole = array_digest(array)
    assert array_digest(np.asfortranarray(array)) == whole
    assert array_digest(array.astype(">f4")) == whole
    monkeypatch.setattr(digest, "BLOCK_BYTES", 100)  # two rows a block
    assert array_digest(array) == whole


def test_shape_dtype_and_values_enter_an_array_digest() -> None:
    array = np.zeros((2, 3), np.float32)
    others = [
        array.T,
        array.astype(np.int32),
        array + 1,
        array.ravel(),
        np.float32(0) * array[0, 0],
    ]
    digests = {array_digest(np.asarray(other)) for other in (array, *others)}
    assert len(digests) == len(others) + 1
    with pytest.raises(BadInput):
        array_digest(np.array([None]))

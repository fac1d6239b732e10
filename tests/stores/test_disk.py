"""What is said about the disk before the work is what the store then takes."""

import resource
from pathlib import Path

import pytest

from ames_lite.errors import BadInput
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.row_layout import announce, num_bytes, store_layout
from tests.processes import run_code


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_the_bytes_are_those_of_the_file(tmp_path: Path, dtype: str) -> None:
    names = [f"ü{i}.jpg" for i in range(50)]
    path = tmp_path / "store.hdf5"
    wanted = store_layout(names, 40, 64, dtype)
    said = announce(path, wanted)
    assert "50 images" in said and "fit" in said and "free" in said
    DescriptorStore.create(path, names, 40, 64, dtype, {}).close()
    extra = path.stat().st_size - num_bytes(wanted)
    assert 0 <= extra < 20_000
    said = announce(tmp_path / "b" / "store.hdf5", wanted)
    assert "already" in announce(path, wanted)
    assert announce(path, wanted, overwrite=True) == said


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "store.hdf5"
    with pytest.raises(BadInput, match="are free") as error:
        announce(path, store_layout([str(i) for i in range(1000)], 10**9, 10**6, "float16"))
    assert str(path) in str(error.value) and "PiB" not in str(error.value)
    assert not path.parent.exists()


FULL = """
import resource, signal
from pathlib import Path
from tests.stores.test_descriptor_store import create, fill
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
with create(Path({path!r})) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    fill(store)
"""


def test_a_disk_that_fills_up_is_one_message_and_loses_nothing(tmp_path: Path) -> None:
    from tests.stores.test_descriptor_store import NAMES, create, fill

    path, whole = tmp_path / "store.hdf5", tmp_path / "whole.hdf5"
    with create(whole) as store:
        fill(store)
    limit = whole.stat().st_size - 600
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("this process has a limit of its own")
    script = FULL.format(limit=limit, path=str(path))
    done = run_code(script)
    assert done.returncode == 1, done.stderr
    assert "writing failed" in done.stderr and str(path) in done.stderr
    with pytest.raises(BadInput, match="not complete"):
        DescriptorStore.open(path)
    with create(path, resume=True) as store:  # once there is room
        assert store.num_finished < len(NAMES)
        fill(store)
    assert path.read_bytes() == whole.read_bytes()


NEW = """
import os
import numpy as np
from ames_lite.stores import hdf5
with hdf5.new_file({path!r}, hdf5.Schema("test/1"), {{}}) as file:
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, file.inner.id.get_vfd_handle())
    file["values"] = np.ones(1 << 22)
"""


def test_a_new_file_on_a_full_disk_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    script = NEW.format(path=str(tmp_path / "new.hdf5"))
    done = run_code(script)
    assert done.returncode == 1, done.stderr
    assert "writing failed" in done.stderr and "No space left" in done.stderr
    assert list(tmp_path.iterdir()) == []

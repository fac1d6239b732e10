"""What a run says: JSON whatever the figures, TensorBoard only where it is asked for and there."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from ames_lite.errors import BadInput
from ames_lite.training.state import Watch, advance


def test_the_log_is_json_whatever_the_figures(tmp_path: Path) -> None:
    watch = Watch(tmp_path, 0)
    watch.line({"step": 0, "loss": 0.5, "gradient_norm": float("inf"), "skipped": True})
    line = json.loads((tmp_path / "log.jsonl").read_text())  # there at once, not at the end
    assert line == {"step": 0, "loss": 0.5, "gradient_norm": None, "skipped": True}
    watch.line({"step": 1, "loss": float("nan")})
    watch.close()


def test_processes_that_do_not_write_say_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch(tmp_path, 0, writes=False, tensorboard=True)
    watch.line({"step": 0})
    with watch.bar("epoch", 3, 0) as bar:
        advance(bar, [[0.1, 0.2]], 3.0)
    watch.close()
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == ""


def test_without_tensorboard_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BadInput, match=r"ames_lite\[tensorboard\]"):
        Watch(tmp_path, 0, tensorboard=True)


def test_tensorboard_has_the_figures(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("needs the extra tensorboard")
    watch = Watch(tmp_path, 0, tensorboard=True)
    watch.line({"step": 0, "loss": 0.5})
    watch.close()
    assert list((tmp_path / "tensorboard").iterdir())

"""What every test may use. One thread: tests run side by side, and their models are small."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.clean import build_wheel
from tests.distributions import Install, install

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of third-party data named by OMNITOK_DATA; the test is skipped where it is unset."""
    folder = os.environ.get("OMNITOK_DATA")
    if not folder:
        pytest.skip("OMNITOK_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"OMNITOK_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def omnitok_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as a wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(autouse=True, scope="session")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests do to plugins is remembered for this session only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNITOK_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Call it to install a distribution, in the folder `site` of the test, for the length of the test."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)
    yield lambda *args, **kwargs: install(site, *args, **kwargs)
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if module is None or str(getattr(module, "__file__", None) or "").startswith(str(site)):
            del sys.modules[name]

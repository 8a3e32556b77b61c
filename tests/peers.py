"""Other implementations to hold ours against."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest


def speechbrain(module: str) -> ModuleType:
    """A module of SpeechBrain, by its name below the package; the test is skipped where it is not installed.

    SpeechBrain imports torchaudio, which imports next to few builds of torch, and hyperpyyaml. The classes compared
    here use neither, so empty modules stand in for them meanwhile. SpeechBrain's own modules go afterwards too: some
    load on first touch, and Hypothesis touches every module there is. What it has put in the place of methods of
    torch's data loader goes as well: put there twice, it calls itself.
    """
    from torch.utils.data.dataloader import _BaseDataLoaderIter  # private: what is patched

    if find_spec("speechbrain") is None:
        pytest.skip("no SpeechBrain to compare with: pip install --no-deps speechbrain")
    hyperpyyaml = ModuleType("hyperpyyaml")
    vars(hyperpyyaml).update(load_hyperpyyaml=None, resolve_references=None)
    stand_ins = {"hyperpyyaml": hyperpyyaml, "torchaudio": ModuleType("torchaudio")}
    known = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)
    methods = {name: vars(_BaseDataLoaderIter)[name] for name in ("__init__", "_reset")}
    try:
        return import_module(f"speechbrain.{module}")
    finally:
        for name in [*stand_ins, *(name for name in sys.modules if name.split(".")[0] == "speechbrain")]:
            del sys.modules[name]
        sys.modules.update(known)
        for name, method in methods.items():
            setattr(_BaseDataLoaderIter, name, method)

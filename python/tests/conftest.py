"""Fixtures of the tests of learned calibration."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    from tiny import write_model

    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.onnx")


@pytest.fixture(scope="session")
def tokens():
    from tiny import VOCABULARY

    return np.random.default_rng(1).integers(0, VOCABULARY, (6, 12))

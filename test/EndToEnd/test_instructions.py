"""Instructions per weight of the decode kernels stay within their budget."""

import os
import shutil
import sys

import pytest
from conftest import HOME

sys.path.insert(
    0, os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "benchmark", "cpu")
)
import instructions  # noqa: E402

BUDGET = {"cpu": {"lut4": 1.0, "lut3": 1.0}}


def test_compare_says_worse_better_and_missing():
    def problems(**counts):
        return list(instructions.compare({"cpu": counts, "other": {"lut4": 9.0}}, BUDGET))

    assert problems(lut4=1.02, lut3=0.95) == []
    (worse,) = problems(lut4=1.04, lut3=1.0)
    assert "lut4 for cpu: expected at most 1.0" in worse and "but got 1.04" in worse
    (better,) = problems(lut4=1.0, lut3=0.8)
    assert "lut3 for cpu" in better and "--update" in better
    (missing,) = problems(lut4=1.0)
    assert "lut3 for cpu: expected the same kernels" in missing


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v4", "host"])
def test_kernels_keep_their_budget(cpu):
    if cpu == "x86-64-v3" and not shutil.which("valgrind"):
        pytest.skip("needs valgrind")
    if cpu == "x86-64-v4" and not instructions.runs_avx512():
        pytest.skip("needs a processor with AVX-512")
    measured = instructions.measure(str(HOME / "bin"), only=[cpu])
    budget = instructions.load()
    if not measured.keys() & budget.keys():
        pytest.skip(f"the budget has no counts for {', '.join(measured)}")
    problems = list(instructions.compare(measured, budget))
    assert not problems, "\n".join(problems)

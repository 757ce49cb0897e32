"""``benchmarks/gpu_suite.sh`` from end to end: it finishes with or without a GPU, and reports what it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xpnet.backend import get_backend
from xpnet.errors import XpnetError

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "benchmarks" / "gpu_suite.sh"


def run(out: Path, environment: dict[str, str], **settings: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("bash") is None or shutil.which("timeout") is None:
        pytest.skip("the suite needs bash and coreutils")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**environment, "PATH": path, "OUT": str(out), "QUICK": "1", "PATIENCE": "10", **settings}
    return subprocess.run(["bash", str(SUITE)], env=environment, capture_output=True, text=True, cwd=out.parent)


def has(device: str) -> bool:
    try:
        get_backend(device)
    except XpnetError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_runs_through(tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "suite"
    done = run(out, environment, WORKLOADS="tiny unknown", DEVICES="gpu cpu", PEERS="torch-graph:gpu")
    assert done.returncode == 0, done.stderr
    sections: dict[str, Any] = json.loads((out / "summary.json").read_text())["sections"]
    assert list(sections) == ["devices", "parity", "tests", "bench-tiny", "bench-unknown"]
    text = (out / "summary.md").read_text()

    gpu = has("gpu")
    assert sections["devices"]["exit_code"] == 0
    assert sections["parity"]["exit_code"] == (0 if gpu else 2)
    assert [each["name"] for each in sections["parity"]["results"]["missing"]][:1] == ([] if gpu else ["gpu"])
    assert ("| parity | no device |" in text) == (not any(map(has, ("gpu", "torch:gpu", "jax:gpu"))))

    tests = sections["tests"]["results"]
    assert sections["tests"]["exit_code"] == 0, sections["tests"]["output"]
    assert not tests["failed"]
    assert (tests["passed"] > 0) == any(map(has, ("gpu", "torch:gpu", "jax:gpu")))
    assert sum(tests["skipped"].values()) > 0 or gpu
    assert all(reason for reason in tests["skipped"])

    rows = {row["name"]: row for row in sections["bench-tiny"]["results"]["rungs"][0]["rows"]}
    assert rows["numpy:cpu"]["figures"]["microseconds"] > 0
    if not gpu:
        assert rows["gpu"]["reason"].startswith("no device: ")
        assert "no device: " in text

    # A failed section is recorded, and the others run.
    assert sections["bench-unknown"]["exit_code"] == 2
    assert "unknown run or workload" in "".join(sections["bench-unknown"]["output"])
    assert "| bench-unknown | exit code 2 |" in text
    assert "| bench-tiny | well |" in text

    again = run(out, environment)
    assert again.returncode == 2
    assert "without results" in again.stderr


def test_a_section_out_of_time_is_recorded(tmp_path: Path) -> None:
    sys.path.insert(0, str(SUITE.parent))
    try:
        import gpu_summary
    finally:
        sys.path.pop(0)
    (tmp_path / "sections.tsv").write_text("parity\t124\t80\ntests\t1\t5\n")
    (tmp_path / "parity.log").write_text("going on")
    (tmp_path / "tests.log").write_text("\n".join(map(str, range(100))))
    (tmp_path / "tests.xml").write_text(
        "<testsuites><testsuite><testcase classname='a' name='b'/>"
        "<testcase classname='a' name='c'><failure/></testcase>"
        "<testcase classname='a' name='d'><skipped message='why'/></testcase></testsuite></testsuites>"
    )
    summary = gpu_summary.summarize(tmp_path)
    assert summary["sections"]["parity"]["timed_out"]
    assert summary["sections"]["parity"]["output"] == ["going on"]
    assert summary["sections"]["tests"]["results"] == {"passed": 1, "failed": ["a::c"], "skipped": {"why": 1}}
    assert summary["sections"]["tests"]["output"][-1] == "99"
    text = gpu_summary.markdown(tmp_path, summary)
    assert "| parity | out of time | 80 |" in text
    assert "- failed: a::c" in text

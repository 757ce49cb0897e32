"""What `docs/clusters.md` shows is what Kubernetes and a shell accept; ranks in two network namespaces."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.mpi import MPIRUN, mpi_environment, needs_mpi

PAGE = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
SCHEMA = Path(__file__).with_name("mpijob_schema.json")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": (int, float),
}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], where: str = "MPIJob") -> Iterator[str]:
    """Yield what is wrong with a value by a schema of OpenAPI, as Kubernetes uses it."""
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield f"{where}: neither a number nor a text"
        return
    kind = schema.get("type")
    if kind and (not isinstance(value, _KINDS[kind]) or (kind == "integer" and isinstance(value, bool))):
        yield f"{where}: no {kind}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    elif kind == "array":
        for i, each in enumerate(value):
            yield from faults(each, schema["items"], f"{where}[{i}]")
    elif kind == "object":
        yield from (f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value)
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        is_free = not known and others is None
        for name, each in value.items():
            if name in known or others is not None:
                yield from faults(each, known.get(name, others), f"{where}.{name}")
            elif not is_free:
                yield f"{where}.{name} is unknown"


def manifest() -> Any:
    import yaml

    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return yaml.safe_load(text)


@pytest.mark.needs("yaml")
def test_the_manifest_is_that_of_the_schema() -> None:
    job, schema = manifest(), json.loads(SCHEMA.read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    assert list(faults(job, schema)) == []
    replicas = job["spec"]["mpiReplicaSpecs"]
    command = " ".join(replicas["Launcher"]["template"]["spec"]["containers"][0]["args"])
    ranks = re.findall(r"-n (\d+)", command)
    assert {int(n) for n in ranks} == {replicas["Worker"]["replicas"] * job["spec"]["slotsPerWorker"]}


@pytest.mark.needs("yaml")
def test_faults_of_a_manifest_are_found() -> None:
    job, schema = manifest(), json.loads(SCHEMA.read_text())
    job["spec"]["slots"] = 1
    job["spec"]["mpiImplementation"] = "Open MPI"
    worker = job["spec"]["mpiReplicaSpecs"]["Worker"]
    worker["replicas"] = "4"
    del worker["template"]["spec"]["containers"][0]["name"]
    assert [fault.partition(":")[0] for fault in faults(job, schema)] == [
        "MPIJob.spec.mpiImplementation",
        "MPIJob.spec.mpiReplicaSpecs.Worker.replicas",
        "MPIJob.spec.mpiReplicaSpecs.Worker.template.spec.containers[0].name is missing",
        "MPIJob.spec.slots is unknown",
    ]


@pytest.mark.subprocess
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("has_begun", [False, True])
def test_the_slurm_script(tmp_path: Path, has_begun: bool) -> None:
    """Run the script with a double of srun, which prints its arguments."""
    (script,) = re.findall(r"```\n(#!/bin/bash\n.*?)```", PAGE, re.DOTALL)
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    run = tmp_path / "runs" / "7"
    run.mkdir(parents=True)
    if has_begun:
        (run / "config.toml").touch()
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SCRATCH": str(tmp_path), "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", "-eu"], input=script, env=variables, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert (f"xpnet resume {run}" if has_begun else "xpnet train fashion-mnist") in done.stdout


# Two machines, played by two network namespaces


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces that are connected by a virtual cable."""
    if os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        pytest.skip("network namespaces need root, and the commands ip, unshare and hostname")
    names = f"xpnet-{os.getpid()}-0", f"xpnet-{os.getpid()}-1"
    with ExitStack() as stack:
        try:
            for name in names:
                _ip("netns", "add", name)
                stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", "xp0", "netns", names[0], "type", "veth", "peer", "name", "xp1", "netns", names[1])
            for i, name in enumerate(names):
                _ip("-n", name, "addr", "add", f"10.213.7.{i + 1}/24", "dev", f"xp{i}")
                _ip("-n", name, "link", "set", f"xp{i}", "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"this machine makes no network namespaces: {exc.stderr.decode().strip()}")
        yield names


@needs_mpi
@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.timeout(120)
def test_two_namespaces(namespaces: tuple[str, str], environment: dict[str, str], folder: Path) -> None:
    """Start a rank in each namespace: mpirun is in the first, and its agent in place of ssh enters the second."""
    agent = folder / "agent"
    enter = f"ip netns exec {namespaces[1]} unshare --uts"  # two machines of one name would be taken for one
    agent.write_text(f'#!/bin/sh\nshift\nexec {enter} /bin/sh -c "hostname xpnet-1; $*"\n')
    agent.chmod(0o755)
    own = {
        "OMPI_MCA_btl": "self,tcp",
        "OMPI_MCA_btl_tcp_if_include": "10.213.7.0/24",
        "PRTE_MCA_plm_ssh_agent": str(agent),
        "PRTE_MCA_oob_tcp_if_include": "10.213.7.0/24",
    }
    code = """
import os
from xpnet.cli import main
from xpnet.communicator import started_communicator
code = main(["train", "iris", "--epochs", "2", "--device", "cpu", "--out", "run", "--json", "--no-report"])
print("rank", os.readlink("/proc/self/ns/net"), *started_communicator().local_ranks, flush=True)
raise SystemExit(code)
"""
    done = subprocess.run(
        ["ip", "netns", "exec", namespaces[0], str(MPIRUN), "--host", "10.213.7.1:1,10.213.7.2:1", "-n", "2",
         "-x", "PYTHONPATH", "-x", "OMPI_MCA_btl", "-x", "OMPI_MCA_btl_tcp_if_include", sys.executable, "-c", code],
        env=mpi_environment(environment) | own, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spaces = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("rank ")]
    assert len({space for space, *_ in spaces}) == 2
    (summary,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert summary["ranks"] == 2

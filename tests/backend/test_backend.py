"""Backends: the device grammar, the four errors, the registry, lazy imports, and the adapters."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from xpnet.backend import Backend, backend_of, devices, get_backend, kind_of, probe_devices, registry
from xpnet.backend.registry import list_backends
from xpnet.errors import (
    BackendNotInstalledError,
    DeviceIndexError,
    DeviceUnavailableError,
    DuplicateBackendError,
    InvalidParameterError,
    UnknownBackendError,
    XpnetError,
)
from xpnet.nn.network import Network
from xpnet.nn.optimizers import get_optimizer
from xpnet.nn.step import init_state, make_step
from xpnet_backends.compiler.ops import UntraceableError


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Backends are made once and kept; these tests change what there is."""
    caches = (registry._registry, registry.has_driver, devices._create)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


# The device grammar.


def _unusable(*names: str) -> Callable[[str], Callable[[str, int], Any]]:
    """Return a loader of factories that tell what was asked of them, without a GPU for the backends named."""

    def load(name: str) -> Callable[[str, int], Any]:
        def create(kind: str, index: int) -> Any:
            if kind == "gpu" and name in names:
                raise DeviceUnavailableError(f"{name} has no GPU today")
            if kind == "cpu" and name == "cupy":
                raise DeviceIndexError("cupy has no CPU ever")
            return name, kind, index

        return create

    return load


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", ("numpy", "cpu", 0)),
        ("cpu:0", ("numpy", "cpu", 0)),
        ("gpu", ("cupy", "gpu", 0)),
        ("gpu:3", ("cupy", "gpu", 3)),
        ("numpy:cpu", ("numpy", "cpu", 0)),
        ("cupy:gpu:12", ("cupy", "gpu", 12)),
        ("torch:cpu", ("torch", "cpu", 0)),
        ("torch:gpu:1", ("torch", "gpu", 1)),
        ("jax:gpu", ("jax", "gpu", 0)),
        ("strict:cpu:1", ("strict", "cpu", 1)),
        ("auto", ("cupy", "gpu", 0)),
        ("auto:1", ("cupy", "gpu", 1)),
        ("torch:auto", ("torch", "gpu", 0)),
        ("torch", ("torch", "gpu", 0)),
        ("torch:2", ("torch", "gpu", 2)),
    ],
)
def test_grammar(device: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "load_factory", _unusable())
    monkeypatch.setattr(devices, "has_driver", lambda name: True)
    assert get_backend(device) == expected


@pytest.mark.parametrize("loads", [False, True])
def test_auto_imports_the_library_of_gpus_only_with_their_driver(loads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_factory(name: str) -> Any:
        asked.append(name)
        return lambda *device: (name, *device)

    monkeypatch.setattr(devices, "load_factory", load_factory)
    drivers = ("libnothing.so.1", np._core._multiarray_umath.__file__ if loads else "nothing.dll")
    monkeypatch.setitem(registry.BUILTIN, "cupy", registry.BUILTIN["cupy"]._replace(drivers=drivers))
    get_backend("auto")
    assert asked == (["cupy"] if loads else ["numpy"])


@pytest.mark.parametrize(
    ("device", "expected"),
    [("auto", ("numpy", "cpu", 0)), ("torch", ("torch", "cpu", 0)), ("torch:auto:1", ("torch", "cpu", 1))],
)
def test_auto_takes_the_cpu_where_no_gpu_works(device: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "load_factory", _unusable("cupy", "torch"))
    assert get_backend(device) == expected


@pytest.mark.parametrize("device", ["cupy", "cupy:auto"])
def test_auto_of_a_backend_without_cpu_says_what_is_wrong_with_its_gpu(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "load_factory", _unusable("cupy"))
    with pytest.raises(DeviceUnavailableError, match="cupy has no GPU today"):
        get_backend(device)


@pytest.mark.parametrize("device", ["gpu", "torch:gpu", "cupy:gpu:1"])
def test_a_gpu_that_was_asked_for_never_becomes_a_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "load_factory", _unusable("cupy", "torch"))
    with pytest.raises(DeviceUnavailableError):
        get_backend(device)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("", "unknown device"),
        (":", "unknown device"),
        (":cpu", "unknown backend"),
        ("cpu:", "unknown device"),
        ("0", "unknown device"),
        ("cpu:-1", "unknown device"),
        ("cpu:1.5", "unknown device"),
        ("cpu:0:0", "unknown device"),
        ("cpu:torch", "unknown device"),
        ("torch:tpu", "unknown device"),
        ("torch:cpu:gpu", "unknown"),
        ("cpu:cpu", "unknown backend"),
        ("CPU", "received 'CPU'. Did you mean 'cpu'?"),
        ("cuda", "received 'cuda'. Did you mean 'gpu'?"),
        ("torch:CUDA:1", "received 'torch:CUDA:1'. Did you mean 'torch:gpu:1'?"),
        ("cuda@tf32", "received 'cuda@tf32'. Did you mean 'gpu@tf32'?"),
        ("pytorch", "Did you mean 'torch'?"),
        ("cuda:gpu", "numpy, strict, torch; received 'cuda'."),
        ("nmpy", "received 'nmpy'. Did you mean 'numpy'?"),
        (
            "nmpy:cpu",
            "unknown backend: expected one of cupy, jax, numba, numpy, strict, torch; received 'nmpy'. Did you mean",
        ),
        (
            "tensorflow:gpu:1",
            "unknown backend: expected one of cupy, jax, numba, numpy, strict, torch; received 'tensorflow'.",
        ),
    ],
)
def test_unknown_devices(device: str, message: str) -> None:
    with pytest.raises(UnknownBackendError) as caught:
        get_backend(device)
    assert message in str(caught.value)
    assert "expected one of" in str(caught.value)
    assert isinstance(caught.value, XpnetError)
    assert isinstance(caught.value, ValueError)


def test_a_backend_is_returned_as_it_is() -> None:
    backend = get_backend("cpu")
    assert get_backend(backend) is backend


# The other errors.


@pytest.mark.parametrize(
    ("device", "package", "command"),
    [
        ("gpu", "cupy", "pip install 'cupy-cuda13x[ctk]' (CUDA 12: 'cupy-cuda12x[ctk]')"),
        ("cupy", "cupy", "pip install 'cupy-cuda13x[ctk]' (CUDA 12: 'cupy-cuda12x[ctk]')"),
        ("torch:cpu", "torch", "pip install torch"),
        ("jax:cpu", "jax", "pip install jax"),
        ("strict:cpu", "array_api_strict", "pip install array-api-strict"),
    ],
)
def test_a_missing_package(device: str, package: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = device.partition(":")[0].replace("gpu", "cupy")
    monkeypatch.delitem(sys.modules, f"xpnet_backends.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # the import system's own way to say: not there
    with pytest.raises(BackendNotInstalledError) as caught:
        get_backend(device)
    assert str(caught.value).startswith(f"backend {name!r} is not installed: expected the package {package!r}; ")
    assert str(caught.value).endswith(f"Run: {command}")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert isinstance(caught.value, ImportError)


def test_a_package_that_is_there_but_broken_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "xpnet_backends.torch", raising=False)
    monkeypatch.setitem(sys.modules, "array_api_compat.torch", None)
    with pytest.raises(
        DeviceUnavailableError, match=r"installed but does not work: .*array_api_compat\.torch"
    ) as caught:
        get_backend("torch:cpu")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.fixture
def put_cupy(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[[str], None]:
    """Return a function that puts a module of that text in the place of CuPy."""

    def put(text: str) -> None:
        (tmp_path / "cupy.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [name for name in sys.modules if name.partition(".")[0] == "cupy" or name == "xpnet_backends.cupy"]:
            monkeypatch.delitem(sys.modules, name)

    return put


def test_a_package_that_refuses_a_variable(put_cupy: Callable[[str], None]) -> None:
    put_cupy("raise ValueError('CUPY_X: -1')")
    with pytest.raises(DeviceUnavailableError, match=r"does not work.*ValueError: CUPY_X: -1\. Check"):
        get_backend("cupy:gpu")


def test_a_package_whose_libraries_do_not_load(put_cupy: Callable[[str], None]) -> None:
    put_cupy("raise ImportError('libcudart.so.13: cannot open\\nshared object file')")
    with pytest.raises(DeviceUnavailableError, match=r"ImportError: libcudart\.so\.13: cannot open shared object file"):
        get_backend("gpu")
    assert get_backend("auto").name == "numpy:cpu"


def test_cupy_without_a_driver() -> None:
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as exc:
        reason = str(exc)
    else:
        pytest.skip("there is a driver")
    with pytest.raises(DeviceUnavailableError, match="no usable CUDA GPU: expected a GPU and its driver") as caught:
        get_backend("gpu")
    assert reason in str(caught.value)
    assert isinstance(caught.value.__cause__, cupy.cuda.runtime.CUDARuntimeError)
    assert isinstance(caught.value, RuntimeError)
    assert get_backend("auto").name == "numpy:cpu"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("numpy:gpu", "no device numpy:gpu:0: expected another kind than gpu; received gpu."),
        ("strict:gpu", "no device strict:gpu:0: expected another kind than gpu; received gpu."),
    ],
)
def test_a_kind_of_device_that_a_library_does_not_have(device: str, message: str) -> None:
    with pytest.raises(DeviceIndexError, match=message):
        get_backend(device)


def test_torch_without_a_gpu() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.device_count():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceUnavailableError, match=r"PyTorch finds no CUDA GPU: .* train with --device torch:cpu"):
        get_backend("torch:gpu")


def test_jax_without_a_gpu() -> None:
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceUnavailableError, match=r"JAX finds no gpu: .* train with --device jax:cpu") as caught:
        get_backend("jax:gpu")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("device", "package", "count"),
    [
        ("cpu:1", "numpy", 1),
        ("torch:cpu:1", "torch", 1),
        ("jax:cpu:9999", "jax", None),
        ("strict:cpu:99", "array_api_strict", None),
    ],
)
def test_an_index_beyond_the_last_device(device: str, package: str, count: int | None) -> None:
    pytest.importorskip(package)
    with pytest.raises(DeviceIndexError, match=r"no device \w+:cpu:\d+: expected an index below \d+") as caught:
        get_backend(device)
    assert f"; received {device.rpartition(':')[2]}. Run `xpnet devices`" in str(caught.value)
    if count is not None:
        assert f"below {count}, the number of such devices" in str(caught.value)
    assert isinstance(caught.value, IndexError)


# The registry.


def test_the_built_in_names() -> None:
    assert list_backends() == ("numpy", "numba", "cupy", "torch", "jax", "strict")


@pytest.mark.parametrize(
    "entries",
    [[("numpy", "other.package:create")], [("mine", "one.package:create"), ("mine", "other.package:create")]],
)
def test_a_duplicate_name(entries: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
        assert group == "xpnet.backends"
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in entries]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    name = entries[0][0]
    message = f"duplicate backend {name!r}: expected each name once; received it again from 'other.package:create'"
    for ask in (list_backends, lambda: get_backend("cpu")):
        with pytest.raises(DuplicateBackendError, match=message):
            ask()


def test_probe_devices_lists_each_device_or_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(name, found.name) for name, found in probe_devices("numpy")] == [("numpy:cpu", "numpy:cpu")]
    monkeypatch.setattr(devices, "load_factory", _unusable("cupy"))
    ((name, reason),) = probe_devices("cupy")
    assert name == "cupy:gpu"
    assert str(reason) == "cupy has no GPU today"


def test_a_missing_package_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "xpnet_backends.strict", raising=False)
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    ((name, reason),) = probe_devices("strict")
    assert name == "strict"
    assert isinstance(reason, BackendNotInstalledError)


def test_probe_devices_counts_to_the_last() -> None:
    strict = pytest.importorskip("array_api_strict")
    n = len(strict.__array_namespace_info__().devices())
    names = [name for name, found in probe_devices("strict") if not isinstance(found, Exception)]
    assert names == ["strict:cpu", *(f"strict:cpu:{i}" for i in range(1, n))]


def test_importing_xpnet_imports_no_array_library(environment: dict[str, str]) -> None:
    libraries = (
        "cupy",
        "torch",
        "jax",
        "jaxlib",
        "array_api_strict",
        "pandas",
        "matplotlib",
        "pyarrow",
        "numba",
    )
    code = (
        "import sys, xpnet, xpnet.training.trainer, xpnet.nn.gradcheck, xpnet.model.model_file\n"
        "xpnet.list_backends()\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    imported = set(result.stdout.split())
    assert "numpy" in imported
    assert imported.isdisjoint(libraries)
    assert "xpnet_backends" not in imported


def test_the_protocol_has_at_most_fourteen_members() -> None:
    members = {name for name in {*vars(Backend), *Backend.__annotations__} if not name.startswith("_")}
    assert {"name", "xp", "device", "precision", "asarray", "to_numpy", "compile", "scope", "set_precision"} <= members
    assert len(members) <= 14


# The adapters, each on each device.


def test_the_name_is_the_device_in_full(device: str, backend: Any) -> None:
    assert backend.name == device
    assert get_backend(backend.name).name == backend.name


@pytest.mark.parametrize("kind", ["float32", "int32", "bool"])
def test_values_go_to_the_device_and_back(kind: str, backend: Any) -> None:
    host = np.asarray([[0, 1, 2], [3, 4, 5]]).astype(kind)
    host.flags.writeable = False
    array = backend.asarray(host)
    assert array.dtype == getattr(backend.xp, kind)
    back = backend.to_numpy(array)
    assert type(back) is np.ndarray
    assert back.dtype == kind
    np.testing.assert_array_equal(back, host)


def test_an_array_tells_its_backend(put: Any, backend: Any) -> None:
    assert backend_of(put([1.0, 2.0])).name == backend.name
    assert backend_of(put([1, 2])).name == backend.name


@pytest.mark.parametrize("thing", [[1.0], 1.0, None, "array"])
def test_what_is_no_array_has_no_backend(thing: Any) -> None:
    with pytest.raises(InvalidParameterError, match="no backend for this array: expected an array of one of numpy, "):
        backend_of(thing)


def test_a_scope_leaves_everything_as_it_was() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    before = np.geterr()
    for device in ("cpu", "torch:cpu", "jax:cpu", "strict:cpu"):
        with get_backend(device).scope("float64"):
            pass
    assert np.geterr() == before
    assert torch.is_grad_enabled()
    assert not jax.config.jax_enable_x64
    with get_backend("jax:cpu").scope("float64"):
        assert jax.numpy.asarray(np.float64(1)).dtype == "float64"
    assert jax.numpy.asarray(np.float64(1)).dtype == "float32"


# CuPy's adapter where there is no GPU: a double of CuPy, made of NumPy, that knows which device is current.


class _FakeDevice:
    stack: list[int]

    def __init__(self, index: int) -> None:
        self.id = index

    def __enter__(self) -> None:
        self.stack.append(self.id)

    def __exit__(self, *exc: object) -> None:
        assert self.stack.pop() == self.id


def _no_graph(*_: Any, **__: Any) -> Any:
    raise UntraceableError("no graphs")


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import array_api_compat.numpy

    class CUDARuntimeError(RuntimeError):
        pass

    fake = types.ModuleType("cupy")
    fake.count, fake.log = 2, []
    device = type("Device", (_FakeDevice,), {"stack": []})
    runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=lambda: fake.count)
    compiler = types.SimpleNamespace(CompileException=type("CompileException", (Exception,), {}))
    fake.cuda = types.SimpleNamespace(runtime=runtime, compiler=compiler, Device=device)
    fake.ones = np.ones

    def asarray(host: np.ndarray) -> np.ndarray:
        fake.log.append(tuple(device.stack))
        return host.copy()

    fake.asarray, fake.asnumpy = asarray, np.copy
    monkeypatch.setattr(devices, "has_driver", lambda name: True)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", array_api_compat.numpy)
    products = types.SimpleNamespace(COMPUTE_TYPE_DEFAULT=0, COMPUTE_TYPE_TF32=1, type=0)
    products.get_compute_type = lambda dtype: products.type
    products.set_compute_type = lambda dtype, kind: setattr(products, "type", kind)
    monkeypatch.setitem(sys.modules, "cupy._core", types.SimpleNamespace(_routines_linalg=products))
    # NumPy has no graphs, no cuBLAS and no pinned memory.
    monkeypatch.setitem(sys.modules, "xpnet_backends.cuda.graph", types.SimpleNamespace(Captured=_no_graph))
    monkeypatch.setitem(sys.modules, "xpnet_backends.cuda.cublas", types.SimpleNamespace(Products=None))
    uploads = types.SimpleNamespace(to_gpu=asarray, upload=None)
    monkeypatch.setitem(sys.modules, "xpnet_backends.cuda.upload", uploads)
    # The adapter is imported anew, and the real one, if it was there, put back.
    monkeypatch.setitem(sys.modules, "xpnet_backends.cupy", None)
    del sys.modules["xpnet_backends.cupy"]
    monkeypatch.setattr(array_api_compat, "cupy", array_api_compat.numpy, raising=False)
    yield fake
    sys.modules.pop("xpnet_backends.cupy", None)


def test_a_gpu_that_cannot_compile(fake_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(shape: Any) -> Any:
        raise fake_cupy.cuda.compiler.CompileException("cannot open source file\ncuda_fp16.h")

    monkeypatch.setattr(fake_cupy, "ones", ones)
    with pytest.raises(DeviceUnavailableError, match=r"cannot compute on it: .* cannot open source file cuda_fp16\.h"):
        get_backend("gpu")


def test_cupy_selects_its_device(fake_cupy: Any) -> None:
    assert get_backend("gpu").name == "cupy:gpu"
    backend = get_backend("cupy:gpu:1")
    assert backend.name == "cupy:gpu:1"
    assert backend.device.id == 1
    array = backend.asarray(np.arange(3))
    assert fake_cupy.log == [(1,)]
    with backend.scope("float32"):
        assert backend.device.stack == [1]
    assert backend.device.stack == []
    np.testing.assert_array_equal(backend.to_numpy(array), [0, 1, 2])


def test_cupy_is_what_auto_takes(fake_cupy: Any) -> None:
    assert get_backend("auto").name == get_backend("cupy").name == "cupy:gpu"


def test_cupy_trains(fake_cupy: Any) -> None:
    network, optimizer = Network([2, 4, 2], "tanh", dropout=0.2), get_optimizer("adam")
    x, y = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.asarray([0, 1, 1, 0])
    results = []
    for backend in (get_backend("gpu:1"), get_backend("cpu")):
        with backend.scope("float64"):
            params = network.init(0, backend).vector
            state = init_state(network, optimizer, params, 0, backend)
            order = backend.asarray(np.asarray([[0, 1], [2, 3], [1, 2]]))
            run = backend.compile(make_step(network, optimizer, backend))
            params, _, losses = run(params, state, (backend.asarray(x), backend.asarray(y)), order)
            results.append((backend.to_numpy(params), backend.to_numpy(losses)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_cupy_has_no_cpu(fake_cupy: Any) -> None:
    with pytest.raises(DeviceIndexError, match="no device cupy:cpu:0: expected another kind than cpu"):
        get_backend("cupy:cpu")


def test_cupy_with_a_driver_but_no_gpu(fake_cupy: Any) -> None:
    fake_cupy.count = 0
    with pytest.raises(
        DeviceUnavailableError, match="no usable CUDA GPU: expected at least one; received a count of 0"
    ):
        get_backend("gpu")


def test_cupy_whose_driver_fails_keeps_the_cause(fake_cupy: Any) -> None:
    cause = fake_cupy.cuda.runtime.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    def fail() -> int:
        raise cause

    fake_cupy.cuda.runtime.getDeviceCount = fail
    with pytest.raises(DeviceUnavailableError, match=r"received cudaErrorNoDevice.*nvidia-smi") as caught:
        get_backend("gpu")
    assert caught.value.__cause__ is cause
    with pytest.raises(DeviceUnavailableError) as caught:
        get_backend("cupy:auto")
    assert caught.value.__cause__ is cause


def test_cupy_beyond_its_last_gpu(fake_cupy: Any) -> None:
    with pytest.raises(DeviceIndexError, match="no device cupy:gpu:2: expected an index below 2"):
        get_backend("gpu:2")


def test_the_kind_of_a_device(device: str, backend: Any) -> None:
    assert kind_of(backend) == device.split(":")[1]

"""Devices, streams, events and graphs of the double, with the order of all work on them.

Work runs at once on the host, but the double knows in which order a GPU would be *obliged* to run it: each stream has a
vector clock (Lamport; Mattern 1989), events carry clocks from stream to stream, and a wait of the host carries them to
all later work. Two accesses to the same memory, one of them a write, that are not ordered raise `DoubleError`.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType

import numpy as np

Clock = dict["Stream", int]


class DoubleError(AssertionError):
    """The code did what fails, or may fail, on a GPU."""


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of CUDA's runtime."""


class OutOfMemoryError(MemoryError):
    """What CuPy raises where a GPU has too little memory."""


class State:
    """What the double knows: two GPUs, the current one of each thread, and what the host has waited for."""

    def __init__(self) -> None:
        self.count, self.capacity = 2, 1 << 34  # GPUs, and bytes of each
        self.attributes = {"MaxSharedMemoryPerBlockOptin": 232448, "MultiProcessorCount": 3}
        self.compute_capability = "90"
        self.waits = 0  # times that the host waited for a GPU
        self.allocations = Counter[int]()  # by GPU
        self.errors: list[str] = []  # found where nothing can be raised
        self.host: Clock = {}
        self.copies: list[tuple[Stream, int, Memory, Callable[[], None]]] = []  # from pinned memory, not done yet
        self.memories = weakref.WeakValueDictionary[int, Memory]()  # by address
        self.default: dict[int, Stream] = {}
        self.lock = threading.RLock()
        self._local = threading.local()

    @property
    def devices(self) -> list[int]:
        """The stack of the thread's devices; the last is the current one."""
        return self._local.__dict__.setdefault("devices", [0])

    @property
    def streams(self) -> list[Stream]:
        """The stack of the thread's streams."""
        return self._local.__dict__.setdefault("streams", [])

    def used(self, device: int) -> int:
        """Return the bytes of a GPU that are allocated."""
        return sum(memory.host.nbytes for memory in list(self.memories.values()) if memory.device == device)

    def wait(self, clock: Clock) -> None:
        """Let the host wait until work is done."""
        self.waits += 1
        merge(self.host, clock)
        self.copy(lambda stream, tick, _: self.host.get(stream, 0) >= tick)

    def copy(self, is_due: Callable[[Stream, int, Memory], bool]) -> None:
        """Do the copies from pinned memory that can wait no longer."""
        due = [each for each in self.copies if is_due(*each[:3])]
        self.copies = [each for each in self.copies if each not in due]
        for *_, copy in due:
            copy()


def merge(clock: Clock, other: Clock) -> None:
    """Let `clock` know what `other` knows."""
    for stream, tick in other.items():
        clock[stream] = max(clock.get(stream, 0), tick)


class Memory:
    """An allocation on the current GPU."""

    def __init__(self, host: np.ndarray) -> None:
        self.host, self.device = host, state.devices[-1]
        self.stream = current_stream()  # the pool gives it to this stream again once it is freed
        self.written: tuple[Stream, int] | None = None
        self.read: Clock = {}
        if self.stream.captured is not None:
            raise DoubleError("an allocation while a stream is captured")
        if state.used(self.device) + host.nbytes > state.capacity:
            raise OutOfMemoryError(f"out of memory allocating {host.nbytes} bytes")
        state.memories[host.ctypes.data] = self
        state.allocations[self.device] += 1

    def __del__(self) -> None:
        known = dict(self.stream.clock)
        merge(known, state.host)
        for stream, tick in [*self.read.items(), *([self.written] if self.written else [])]:
            if known.get(stream, 0) < tick:
                state.errors.append(f"memory of {self.host.nbytes} bytes freed while another stream may use it")


def memory_at(address: int) -> Memory:
    """Return the allocation that an address belongs to."""
    found = state.memories.get(address)
    if found is not None:
        return found
    for memory in list(state.memories.values()):
        if 0 <= address - memory.host.ctypes.data < max(1, memory.host.nbytes):
            return memory
    raise DoubleError(f"an access to memory that is not allocated: {address:#x}")


class Event:
    """A point in the work of a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.clock: Clock = {}
        self.time = 0.0

    def record(self, stream: Stream | None = None) -> None:
        """Take the point that the stream has reached."""
        self.clock, self.time = dict((stream or current_stream()).clock), time.perf_counter()

    def synchronize(self) -> None:
        """Let the host wait for the point."""
        state.wait(self.clock)


def get_elapsed_time(first: Event, last: Event) -> float:
    """Return the milliseconds between two events: the host's."""
    return 1000 * (last.time - first.time)


class Stream:
    """A queue of work on the device that is current when it is made."""

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        self.device, self.clock = state.devices[-1], Clock()
        self.captured: list[Callable[[], None]] | None = None
        self.ptr = id(self)
        self._outer: list[list[Stream]] = []
        _streams[self.ptr] = self

    def __enter__(self) -> Stream:
        if self.device != state.devices[-1]:
            raise DoubleError(f"a stream of GPU {self.device} while GPU {state.devices[-1]} is current")
        state.streams.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        if state.streams.pop() is not self:
            raise DoubleError("streams are left in another order than they were entered")

    def run(self, work: Callable[[], None], reads: Iterable[Memory], writes: Iterable[Memory]) -> None:
        """Do work now, if no stream that is not ordered before it may use the same memory."""
        if self.device != state.devices[-1]:
            raise DoubleError(f"work on a stream of GPU {self.device} while GPU {state.devices[-1]} is current")
        if self.captured is not None:
            raise DoubleError("work that the double does not record while a stream is captured")
        with state.lock:
            merge(self.clock, state.host)
            tick = self.clock[self] = self.clock.get(self, 0) + 1
            touched = [*((memory, False) for memory in reads), *((memory, True) for memory in writes)]
            for memory, is_write in touched:
                if memory.device != self.device:
                    raise DoubleError(f"memory of GPU {memory.device} is used on GPU {self.device}")
                earlier = ([memory.written] if memory.written else []) + (list(memory.read.items()) if is_write else [])
                for stream, when in earlier:
                    if self.clock.get(stream, 0) < when:
                        raise DoubleError(f"two streams race for {memory.host.nbytes} bytes: an event is missing")
            used = {id(memory) for memory, _ in touched}
            state.copy(lambda _stream, _tick, memory: id(memory) in used)
            work()
            for memory, is_write in touched:
                if is_write:
                    memory.written, memory.read = (self, tick), {}
                else:
                    memory.read[self] = tick

    def later(self, copy: Callable[[], None], target: Memory) -> None:
        """Queue a copy from pinned memory: it is done as late as the order allows, so that an early reuse shows."""
        self.run(lambda: None, [], [target])
        state.copies.append((self, self.clock[self], target, copy))

    def record(self, event: Event | None = None) -> Event:
        """Return the point that the stream has reached."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let later work wait for an event."""
        merge(self.clock, event.clock)

    def synchronize(self) -> None:
        """Let the host wait for the stream."""
        state.wait(self.clock)

    def begin_capture(self, mode: int | None = None) -> None:
        """Record launches instead of doing them."""
        self.captured = []

    def end_capture(self) -> Graph:
        """Return what was recorded."""
        launches, self.captured = self.captured, None
        if not launches:
            raise CUDARuntimeError("an empty capture")
        return Graph(launches)


_streams = weakref.WeakValueDictionary[int, Stream]()


def stream_at(address: int) -> Stream:
    """Return the stream with a pointer."""
    return _streams[address]


def current_stream() -> Stream:
    """Return the current stream of the thread, on the current device."""
    device = state.devices[-1]
    for stream in reversed(state.streams):
        if stream.device == device:
            return stream
    if device not in state.default:
        state.default[device] = Stream(null=True)
    return state.default[device]


def launch(stream: Stream, work: Callable[[], None], addresses: Iterable[int]) -> None:
    """Do work on the memory at some addresses, or record it if the stream is captured."""
    addresses = list(addresses)

    def run() -> None:
        memories = [memory_at(address) for address in addresses]
        # A kernel may also read memory by an address from a table: the copies that its stream waited for are done.
        state.copy(lambda other, tick, _: stream.clock.get(other, 0) >= tick)
        stream.run(work, [], memories)

    if stream.captured is None:
        run()
        return
    stream.captured.append(run)


class Graph:
    """Recorded launches."""

    def __init__(self, launches: list[Callable[[], None]]) -> None:
        self.launches = launches

    def launch(self, stream: Stream | None = None) -> None:
        """Do all launches on their stream."""
        for run in self.launches:
            run()


class Device:
    """A GPU; the current one if no index is given."""

    def __init__(self, device: int | Device | None = None) -> None:
        index = state.devices[-1] if device is None else getattr(device, "id", device)
        if not 0 <= index < state.count:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id: int = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        state.devices.append(self.id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if state.devices.pop() != self.id:
            raise DoubleError("devices are left in another order than they were entered")

    def use(self) -> None:
        """Make it the current one."""
        state.devices[-1] = self.id

    def synchronize(self) -> None:
        """Let the host wait for all its streams."""
        for stream in list(_streams.values()):
            if stream.device == self.id:
                state.wait(stream.clock)

    @property
    def compute_capability(self) -> str:
        return state.compute_capability

    @property
    def attributes(self) -> dict[str, int]:
        return dict(state.attributes)

    @property
    def mem_info(self) -> tuple[int, int]:
        return state.capacity - state.used(self.id), state.capacity


state = State()

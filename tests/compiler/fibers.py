"""Run a CUDA kernel of many blocks on the host: each thread of CUDA is a fiber, and fibers meet where threads do.

The fibers run one at a time, from one barrier to the next: warp by warp, each as far as it comes, in order or in the
opposite order, or all of them shuffled. A kernel that lacks a barrier then reads what is not yet written in one of
them, and so does one that does not wait for its asynchronous copies. Threads that wait for one another forever are an
error, and so is a write behind the shared memory.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence

import numpy as np

from tests import host_compiler

__all__ = ["ORDERS", "build"]

ORDERS = {"in order": 0, "in the opposite order": 1, "shuffled": 2}
_HOST = """
using std::cos, std::exp, std::expm1, std::log, std::log1p, std::sqrt, std::tanh, std::vector;
#define __global__
#define __launch_bounds__(...)
#define __device__
struct Dim { int x; };
static Dim threadIdx, blockDim, blockIdx, gridDim;
enum State { RUNS, WAITS_FOR_WARP, WAITS_FOR_BLOCK, DONE };
// A fiber begins as a context; from then on jumps switch faster, for they keep no signals.
struct Fiber { jmp_buf place; std::unique_ptr<char[]> stack; State state; int block, thread; bool begun; };
static vector<Fiber> fibers;
static Fiber* own;
static jmp_buf scheduler;
static vector<vector<double>> memory;
static vector<long long> slots;
static void rest(State state) {
    own->state = state;
    if (!_setjmp(own->place)) _longjmp(scheduler, 1);
}
static void __syncthreads() { rest(WAITS_FOR_BLOCK); }
static void __syncwarp() { rest(WAITS_FOR_WARP); }
template <class T> static T __shfl_xor_sync(unsigned, T r, int d) {
    const int first = own - fibers.data() - threadIdx.x;
    memcpy(&slots[first + threadIdx.x], &r, sizeof r);
    __syncwarp();
    memcpy(&r, &slots[first + (threadIdx.x ^ d)], sizeof r);
    __syncwarp();
    return r;
}
#define ARENA char* const arena = (char*)memory[blockIdx.x].data();
static int runs;  // a library is used again, and what a run leaves in shared memory must not be there in the next
#define SHARED(name, bytes) \\
    static vector<vector<double>> name##_of; \\
    static int name##_run; \\
    if (name##_run != runs) name##_of.assign(gridDim.x, vector<double>(bytes / 8 + 1, NAN)); \\
    name##_run = runs; \\
    char* const name = (char*)name##_of[blockIdx.x].data();
// A copy is done as late as it may be: when its thread waits for it.
struct Copy { void* to; const void* from; size_t size; };
static vector<vector<Copy>> copies;
template <class T> static void copy_async(T* to, const T* from) {
    copies[own - fibers.data()].push_back({to, from, sizeof(T)});
}
static void wait_async() {
    for (const Copy& each : copies[own - fibers.data()]) memcpy(each.to, each.from, each.size);
    copies[own - fibers.data()].clear();
}
#define COPY_ASYNC(to, from) copy_async(to, from)
#define WAIT_ASYNC wait_async()
#define ARRIVE(count) ++*(count)
#define READ(n, count) { n = *(count); rest(RUNS); }
"""
_RUN = """
static void** given;
static const int stack_size = 1 << 15;
static void enter() {{ steps({arguments}); rest(DONE); }}
static void go() {{
    if (_setjmp(scheduler)) return;
    if (own->begun) _longjmp(own->place, 1);
    own->begun = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = own->stack.get(), context.uc_stack.ss_size = stack_size;
    makecontext(&context, enter, 0);
    setcontext(&context);
}}
extern "C" int run(void** arguments, int blocks, int threads, int bytes, int mode) {{
    ++runs, given = arguments, gridDim.x = blocks, blockDim.x = threads;
    const int n = blocks * threads, numbers = (bytes + 7) / 8, guards = 1024;
    fibers = vector<Fiber>(n);
    slots = vector<long long>(n);
    copies.assign(n, {{}});
    memory.assign(blocks, vector<double>(numbers + guards));
    for (auto& each : memory) memset(each.data(), 255, each.size() * sizeof(double));  // not numbers
    vector<int> order(n);
    std::mt19937 random(mode);
    for (int f = 0; f < n; ++f) {{
        Fiber& fiber = fibers[f];
        fiber.state = RUNS, fiber.block = f / threads, fiber.thread = f % threads, fiber.begun = false;
        fiber.stack.reset(new char[stack_size]);
        order[f] = mode == 1 ? n - 1 - f : f;
    }}
    auto release = [&](State state, int size) {{
        bool any = false;
        for (int f = 0; f < n; f += size) {{
            bool all = true;
            for (int e = f; e < f + size; ++e) all = all && fibers[e].state == state;
            if (all) for (int e = f; e < f + size; ++e) fibers[e].state = RUNS;
            any = any || all;
        }}
        return any;
    }};
    // Run the fibers of a warp as far as they come without the others of their block.
    auto ahead = [&](int first) {{
        for (bool met = true; met;) {{
            for (int f = first; f < first + 32; ++f) {{
                own = &fibers[f];
                if (own->state != RUNS) continue;
                threadIdx.x = own->thread, blockIdx.x = own->block;
                go();
            }}
            met = true;
            for (int f = first; f < first + 32; ++f) met = met && fibers[f].state == WAITS_FOR_WARP;
            if (met) for (int f = first; f < first + 32; ++f) fibers[f].state = RUNS;
        }}
    }};
    for (int idle = 0; idle < 1000;) {{
        if (mode > 1) std::shuffle(order.begin(), order.end(), random);
        else for (int k = 0; k < n; k += 32) ahead(order[k] / 32 * 32);
        bool ran = false, done = true;
        for (int f : order) {{
            own = &fibers[f];
            if (own->state == RUNS) {{
                threadIdx.x = own->thread, blockIdx.x = own->block;
                go();
                ran = ran || own->state != RUNS;
            }}
            done = done && own->state == DONE;
        }}
        if (done) {{
            const vector<unsigned char> guard(guards * sizeof(double), 255);
            for (auto& each : memory) if (memcmp(&each[numbers], guard.data(), guard.size())) return 2;
            return 0;
        }}
        const bool met = release(WAITS_FOR_WARP, 32) | release(WAITS_FOR_BLOCK, threads);
        idle = ran || met ? 0 : idle + 1;
    }}
    return 1;
}}
"""
_ERRORS = {1: "threads that wait for one another", 2: "a write behind the shared memory"}


class HostKernel:
    """A kernel ``steps`` that the host's compiler has built."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._run = library.run

    def __call__(
        self, arguments: Sequence[np.ndarray | int], blocks: int, threads: int, shared: int, mode: int
    ) -> None:
        """Run it with arrays and integers as arguments."""
        numbers = [ctypes.c_int(each) if isinstance(each, int) else None for each in arguments]
        addresses = [
            each.ctypes.data if isinstance(each, np.ndarray) else ctypes.addressof(number)
            for each, number in zip(arguments, numbers, strict=True)
        ]
        error = self._run((ctypes.c_void_p * len(addresses))(*addresses), blocks, threads, shared, mode)
        if error:
            raise RuntimeError(f"a kernel with {_ERRORS[error]}")


def build(text: str) -> HostKernel:
    """Build the kernel ``steps`` of a CUDA source."""
    declared = re.search(r" steps\((.*?)\) \{", text)
    assert declared is not None
    kinds = [each.rpartition(" ")[0] for each in declared[1].split(", ")]
    arguments = [f"({kind})given[{k}]" if "*" in kind else f"*({kind}*)given[{k}]" for k, kind in enumerate(kinds)]
    return HostKernel(host_compiler.build(_HOST + text + _RUN.format(arguments=", ".join(arguments))))

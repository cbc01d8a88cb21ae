// Executes the text of a __global__ kernel on the CPU, for tests. Included before kernels/platform.cuh, whose words it defines.
//
// Every CUDA thread is a fiber with its own stack; one operating-system thread runs them, a block at a time, each fiber
// until it meets a barrier, a shuffle or its end, in an order drawn from a seed. Shared memory is poisoned with NaN (all
// bits set) before each block and is exactly as long as requested, so that AddressSanitizer sees a short request.
// Under ThreadSanitizer a fiber is a thread: only barriers (and __syncwarp) order memory, and blocks are unordered among
// each other, so a removed barrier and a race between blocks are both reported with their lines.
//
// Stricter than a device: a barrier that some thread of the block has left by returning is an error; sizes of arguments,
// launch bounds, grid and shared limits are checked. There is no atomicAdd on float or double: no kernel may use one.
// Blind to weak memory order, and to instructions that only a device has. x86-64 only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <type_traits>
#include <utility>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define UNORDERED __attribute__((no_sanitize_thread, noinline))
#else
#define UNORDERED __attribute__((noinline))
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" void emulator_switch(void** save, void* load);
asm(".text\n.hidden emulator_switch\n.globl emulator_switch\nemulator_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");

namespace emulator {

struct Index { unsigned x, y, z; };
enum Wait { RUNNABLE, AT_BLOCK, AT_WARP, DONE };
struct Thread {
    Index index;
    void* stack_pointer;
    void* fiber;       // ThreadSanitizer's
    void* fake_stack;  // AddressSanitizer's
    char* stack;
    Wait wait;
};
struct Warp { unsigned arrived, size, phase; unsigned long long slot[32]; };

constexpr size_t STACK = 64 * 1024;
constexpr unsigned MOST_THREADS = 1024;
constexpr size_t MOST_SHARED = 227 * 1024;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t GUARD = 0;
#else
constexpr size_t GUARD = 4096;  // poisoned bytes behind shared memory: a write there is found without a sanitizer
#endif

struct Machine {
    Thread thread[MOST_THREADS];
    Warp warp[MOST_THREADS / 32];
    unsigned runnable[MOST_THREADS], runnables, threads, arrived, phase;
    Thread* current;
    Index block_index, block_size, grid_size;
    unsigned char* shared;
    void* scheduler_stack_pointer;
    void* scheduler_fiber;
    void* scheduler_fake_stack;
    const void* scheduler_stack;
    size_t scheduler_stack_size;
    void (*call)(void**);
    void** arguments;
    uint64_t random;
    char launch_sync, end_sync;
    char* block_sync;  // two for the block, two a warp: a slow thread of one phase never sees the next
    char message[256];
};
static Machine machine;

#if defined(__SANITIZE_THREAD__)
UNORDERED static void release(void* at) { __tsan_release(at); }
UNORDERED static void acquire(void* at) { __tsan_acquire(at); }
#else
static void release(void*) {}
static void acquire(void*) {}
#endif

// From the scheduler into a thread, and back; `last` when the thread ends.
UNORDERED static void enter(Thread& t) {
    machine.current = &t;
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(t.fiber, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&machine.scheduler_fake_stack, t.stack, STACK);
#endif
    emulator_switch(&machine.scheduler_stack_pointer, t.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(machine.scheduler_fake_stack, nullptr, nullptr);
#endif
}

UNORDERED static void leave(Wait wait) {
    Thread& t = *machine.current;
    t.wait = wait;
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(machine.scheduler_fiber, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(wait == DONE ? nullptr : &t.fake_stack, machine.scheduler_stack, machine.scheduler_stack_size);
#endif
    emulator_switch(&t.stack_pointer, machine.scheduler_stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(t.fake_stack, &machine.scheduler_stack, &machine.scheduler_stack_size);
#endif
}

UNORDERED static void thread_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_size);
#endif
    acquire(&machine.launch_sync);
    machine.call(machine.arguments);
    release(&machine.end_sync);
    leave(DONE);
    abort();
}

UNORDERED static void wake(Wait wait, unsigned first, unsigned last) {
    for (unsigned i = first; i < last; ++i)
        if (machine.thread[i].wait == wait) {
            machine.thread[i].wait = RUNNABLE;
            machine.runnable[machine.runnables++] = i;
        }
}

// A thread that completes a barrier wakes the others, then queues behind them like any other.
UNORDERED static void block_barrier() {
    char* sync = &machine.block_sync[machine.phase & 1];
    release(sync);
    if (++machine.arrived == machine.threads) {
        machine.arrived = 0;
        machine.phase++;
        wake(AT_BLOCK, 0, machine.threads);
        leave(RUNNABLE);
    } else {
        leave(AT_BLOCK);
    }
    acquire(sync);
}

UNORDERED static unsigned thread_number() { return unsigned(machine.current - machine.thread); }

UNORDERED static void warp_barrier(bool ordered) {
    unsigned number = thread_number() / 32;
    Warp& w = machine.warp[number];
    char* sync = &machine.block_sync[2 + 2 * number + (w.phase & 1)];
    if (ordered) release(sync);
    if (++w.arrived == w.size) {
        w.arrived = 0;
        w.phase++;
        wake(AT_WARP, number * 32, number * 32 + w.size);
        leave(RUNNABLE);
    } else {
        leave(AT_WARP);
    }
    if (ordered) acquire(sync);
}

template <class T> UNORDERED T shuffle(T value, unsigned source) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    Warp& w = machine.warp[thread_number() / 32];
    memcpy(&w.slot[thread_number() % 32], &value, sizeof(T));
    warp_barrier(false);
    if (source < w.size) memcpy(&value, &w.slot[source], sizeof(T));
    warp_barrier(false);
    return value;
}

UNORDERED static unsigned ballot(bool predicate) {
    Warp& w = machine.warp[thread_number() / 32];
    w.slot[thread_number() % 32] = predicate;
    warp_barrier(false);
    unsigned bits = 0;
    for (unsigned i = 0; i < w.size; ++i) bits |= unsigned(w.slot[i]) << i;
    warp_barrier(false);
    return bits;
}

UNORDERED static uint64_t draw() {  // xorshift64*
    uint64_t& r = machine.random;
    r ^= r >> 12, r ^= r << 25, r ^= r >> 27;
    return (r * 0x2545F4914F6CDD1Dull) >> 32;
}

#if defined(__SANITIZE_THREAD__)
// A fiber is dear to make, so those of a launch are used again by the next. Within a launch each thread has its own: accesses of
// one fiber never race, whichever thread it stood for.
constexpr unsigned MOST_FIBERS = 6000;  // ThreadSanitizer knows some 8,000
static void* fiber_pool[MOST_FIBERS];
static unsigned fibers_made, fibers_used;

UNORDERED static void* take_fiber() {
    if (fibers_used == MOST_FIBERS) return __tsan_create_fiber(0);
    if (fibers_used == fibers_made) fiber_pool[fibers_made++] = __tsan_create_fiber(0);
    return fiber_pool[fibers_used++];
}
#endif

UNORDERED static bool run_block() {
    const Index& b = machine.block_size;
    machine.runnables = machine.arrived = machine.phase = 0;
#if defined(__SANITIZE_THREAD__)
    const unsigned first_fiber = fibers_used;
#endif
    for (unsigned i = 0; i < machine.threads; ++i) {
        Thread& t = machine.thread[i];
        t.index = {i % b.x, i / b.x % b.y, i / (b.x * b.y)};
        void** top = reinterpret_cast<void**>(t.stack + STACK) - 2;  // entered as if called: (rsp + 8) a multiple of 16
        top[0] = reinterpret_cast<void*>(&thread_main);
        for (int k = 1; k <= 6; ++k) top[-k] = nullptr;
        t.stack_pointer = top - 6;
        t.wait = RUNNABLE;
        machine.runnable[machine.runnables++] = i;
#if defined(__SANITIZE_THREAD__)
        t.fiber = take_fiber();
#endif
    }
    for (unsigned i = 0; i * 32 < machine.threads; ++i)
        machine.warp[i] = {0, machine.threads - i * 32 < 32 ? machine.threads - i * 32 : 32, 0, {}};
    unsigned done = 0;
    while (machine.runnables) {
        unsigned pick = unsigned(draw() % machine.runnables);
        Thread& t = machine.thread[machine.runnable[pick]];
        machine.runnable[pick] = machine.runnable[--machine.runnables];
        enter(t);
        if (t.wait == RUNNABLE) machine.runnable[machine.runnables++] = unsigned(&t - machine.thread);
        if (t.wait == DONE) ++done;
    }
#if defined(__SANITIZE_THREAD__)
    for (unsigned i = 0; i < machine.threads; ++i)
        if (first_fiber + i >= MOST_FIBERS) __tsan_destroy_fiber(machine.thread[i].fiber);
#endif
    if (done == machine.threads) return true;
    unsigned at_block = 0, at_warp = 0;
    for (unsigned i = 0; i < machine.threads; ++i) {
        at_block += machine.thread[i].wait == AT_BLOCK;
        at_warp += machine.thread[i].wait == AT_WARP;
    }
    snprintf(machine.message, sizeof machine.message, "barrier never completes in block (%u, %u, %u): %u threads returned, %u wait for the block, %u for their warp",
             machine.block_index.x, machine.block_index.y, machine.block_index.z, done, at_block, at_warp);
    return false;
}

// Stacks and shared memory of a block. Under ThreadSanitizer each block of a launch has its own, made before the launch is
// released, because blocks are unordered and would race on memory that is handed on. Stacks serve the next launch again.
struct Ground {
    char* stacks;
    unsigned char* shared;
};
static Ground* grounds_made;
static size_t grounds_count;

UNORDERED static Ground* lay_grounds(size_t count, size_t shared) {
    if (count > grounds_count) grounds_made = static_cast<Ground*>(realloc(grounds_made, count * sizeof(Ground)));
    for (; grounds_count < count; ++grounds_count) {
        void* stacks = mmap(nullptr, MOST_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stacks == MAP_FAILED) abort();
        grounds_made[grounds_count].stacks = static_cast<char*>(stacks);
    }
    for (size_t i = 0; i < count; ++i) {
        grounds_made[i].shared = static_cast<unsigned char*>(malloc(shared + GUARD));
        memset(grounds_made[i].shared, 0xFF, shared + GUARD);
    }
    return grounds_made;
}

extern "C" unsigned char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" unsigned char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

UNORDERED static bool run_grid(void (*call)(void**), void** arguments, Index grid, Index block, size_t shared, uint64_t seed) {
    Machine& m = machine;
    m.call = call, m.arguments = arguments, m.grid_size = grid, m.block_size = block;
    m.threads = block.x * block.y * block.z;
    m.random = seed * 2 + 1;
    const size_t blocks = size_t(grid.x) * grid.y * grid.z;
#if defined(__SANITIZE_THREAD__)
    m.scheduler_fiber = __tsan_get_current_fiber();
    const size_t grounds = blocks;
#else
    const size_t grounds = 1;
#endif
    Ground* ground = lay_grounds(grounds, shared);
    release(&m.launch_sync);
    bool good = true;
    for (size_t i = 0; i < blocks && good; ++i) {
        const Ground& g = ground[i % grounds];
        m.shared = g.shared;
        m.block_sync = g.stacks;  // addresses only: the far end of the first stack
        memset(g.shared, 0xFF, grounds == 1 ? shared : 0);
        const size_t fixed = size_t(__stop_emulated_shared - __start_emulated_shared);
        if (fixed) {  // static shared memory is handed on from block to block, so it orders them
            acquire(&m.end_sync);
            memset(__start_emulated_shared, 0xFF, fixed);
            release(&m.launch_sync);
        }
        for (unsigned t = 0; t < m.threads; ++t) m.thread[t].stack = g.stacks + t * STACK;
        m.block_index = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / (size_t(grid.x) * grid.y))};
        good = run_block();
        for (size_t k = 0; good && k < GUARD; ++k)
            if (g.shared[shared + k] != 0xFF) {
                snprintf(m.message, sizeof m.message, "a write %zu bytes past the %zu bytes of shared memory asked for", k, shared);
                good = false;
            }
    }
    acquire(&m.end_sync);
#if defined(__SANITIZE_THREAD__)
    fibers_used = 0;
#endif
    for (size_t i = 0; i < grounds; ++i) free(ground[i].shared);
    return good;
}

template <auto F> struct Signature;
template <class... A, void (*F)(A...)> struct Signature<F> {
    static constexpr size_t count = sizeof...(A);
    static constexpr size_t sizes[] = {sizeof(A)..., 0};
    static constexpr bool pointers[] = {std::is_pointer<A>::value..., false};
    template <size_t... I> static void spread(void** a, std::index_sequence<I...>) { F(*static_cast<A*>(a[I])...); }
    static void call(void** a) { spread(a, std::index_sequence_for<A...>{}); }
};

struct Kernel {
    const char* name;
    void (*call)(void**);
    size_t count;
    const size_t* sizes;
    const bool* pointers;
    unsigned most_threads;
};

}  // namespace emulator

#define EMULATED_KERNEL(name, bound) \
    {#name, &emulator::Signature<&name>::call, emulator::Signature<&name>::count, emulator::Signature<&name>::sizes, emulator::Signature<&name>::pointers, bound}

#define UPM_EMULATOR 1
#define UPM_GLOBAL extern "C" void
#define UPM_LAUNCH_BOUNDS(threads, blocks)
#define UPM_SHARED static __attribute__((section("emulated_shared")))
#define UPM_DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(emulator::machine.shared)
#define threadIdx (emulator::machine.current->index)
#define blockIdx (emulator::machine.block_index)
#define blockDim (emulator::machine.block_size)
#define gridDim (emulator::machine.grid_size)
constexpr int warpSize = 32;

static inline void __syncthreads() { emulator::block_barrier(); }
static inline void __syncwarp(unsigned = ~0u) { emulator::warp_barrier(true); }
template <class T> T __shfl_sync(unsigned, T v, int source) { return emulator::shuffle(v, unsigned(source) % 32); }
template <class T> T __shfl_down_sync(unsigned, T v, unsigned by) { return emulator::shuffle(v, emulator::thread_number() % 32 + by); }
template <class T> T __shfl_up_sync(unsigned, T v, unsigned by) { return emulator::shuffle(v, emulator::thread_number() % 32 - by); }
template <class T> T __shfl_xor_sync(unsigned, T v, int with) { return emulator::shuffle(v, (emulator::thread_number() % 32) ^ unsigned(with)); }
static inline unsigned __ballot_sync(unsigned, int predicate) { return emulator::ballot(predicate != 0); }
static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

#define EMULATED_ATOMICS(T) \
    static inline T atomicAdd(T* at, T value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); } \
    static inline T atomicOr(T* at, T value) { return __atomic_fetch_or(at, value, __ATOMIC_RELAXED); } \
    static inline T atomicExch(T* at, T value) { return __atomic_exchange_n(at, value, __ATOMIC_RELAXED); } \
    static inline T atomicCAS(T* at, T expected, T value) { \
        __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
        return expected; \
    } \
    static inline T atomicMax(T* at, T value) { \
        T seen = __atomic_load_n(at, __ATOMIC_RELAXED); \
        while (seen < value && !__atomic_compare_exchange_n(at, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {} \
        return seen; \
    }
EMULATED_ATOMICS(int)
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)
float atomicAdd(float*, float) = delete;
double atomicAdd(double*, double) = delete;

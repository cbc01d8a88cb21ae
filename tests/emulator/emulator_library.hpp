// The C interface of a library of emulated kernels; included after the table `emulated_kernels` of the generated file.
#pragma once
#include "cuda_emulator.hpp"

namespace emulator {

static const Kernel* find(const char* name) {
    for (const Kernel& k : emulated_kernels)
        if (strcmp(k.name, name) == 0) return &k;
    return nullptr;
}

// nullptr, or what a device would refuse or hang on. Arguments are pointers to the values, as for cuLaunchKernel.
static const char* launch(const char* name, Index grid, Index block, void** arguments, const size_t* sizes,
                          const unsigned char* pointers, size_t count, size_t shared, uint64_t seed) {
    char* message = machine.message;
    const size_t length = sizeof machine.message;
    const Kernel* kernel = find(name);
    if (!kernel) return snprintf(message, length, "no kernel %s in this module", name), message;
    if (count != kernel->count) return snprintf(message, length, "%s takes %zu arguments, not %zu", name, kernel->count, count), message;
    for (size_t i = 0; i < count; ++i)
        if (sizes[i] != kernel->sizes[i] || bool(pointers[i]) != kernel->pointers[i])
            return snprintf(message, length, "%s argument %zu: %zu bytes (%s) given, %zu (%s) declared", name, i, sizes[i], pointers[i] ? "array" : "scalar",
                            kernel->sizes[i], kernel->pointers[i] ? "array" : "scalar"), message;
    const unsigned long long threads = 1ull * block.x * block.y * block.z;
    if (threads == 0 || threads > kernel->most_threads || threads > MOST_THREADS)
        return snprintf(message, length, "%s launched with %llu threads a block, bound %u", name, threads, kernel->most_threads), message;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
        return snprintf(message, length, "%s launched with grid (%u, %u, %u)", name, grid.x, grid.y, grid.z), message;
    if (shared > MOST_SHARED) return snprintf(message, length, "%s asks for %zu bytes of shared memory", name, shared), message;
    return run_grid(kernel->call, arguments, grid, block, shared, seed) ? nullptr : message;
}

}  // namespace emulator

extern "C" __attribute__((visibility("default"))) const char* emulator_launch(const char* name, const unsigned* grid, const unsigned* block, void** arguments, const size_t* sizes,
                                       const unsigned char* pointers, size_t count, size_t shared, uint64_t seed) {
    return emulator::launch(name, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, arguments, sizes, pointers, count, shared, seed);
}

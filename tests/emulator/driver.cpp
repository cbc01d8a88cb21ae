// Runs launches recorded in a case file, for the sanitizers: arrays are allocated exactly as long as recorded.
//
// File (native byte order): u64 launches; each: name (u64 length, bytes), u32 grid[3], u32 block[3], u64 shared, u64 seed,
// u64 arguments; each: u64 kind. 0: u64 bytes, content (a scalar); 1: u64 array number, u64 bytes, content (an array seen
// for the first time); 2: u64 array number (seen before); 3: as 1, the host has written the array again.
#include <vector>

namespace {
FILE* file;
void read(void* at, size_t bytes) {
    if (bytes && fread(at, 1, bytes, file) != bytes) fprintf(stderr, "case file ends early\n"), exit(3);
}
uint64_t number() {
    uint64_t n;
    read(&n, sizeof n);
    return n;
}
}  // namespace

int main(int count, char** words) {
    if (count != 2 || !(file = fopen(words[1], "rb"))) return fprintf(stderr, "usage: driver CASE\n"), 3;
    std::vector<void*> arrays;
    for (uint64_t launches = number(); launches; --launches) {
        std::vector<char> name(number() + 1);
        read(name.data(), name.size() - 1);
        unsigned grid[3], block[3];
        read(grid, sizeof grid);
        read(block, sizeof block);
        const uint64_t shared = number(), seed = number(), arguments = number();
        std::vector<uint64_t> values(arguments);
        std::vector<void*> pointers(arguments);
        std::vector<size_t> sizes(arguments);
        std::vector<unsigned char> kinds(arguments);
        for (uint64_t i = 0; i < arguments; ++i) {
            const uint64_t kind = number();
            kinds[i] = kind != 0;
            sizes[i] = 8;
            if (kind == 0) {
                sizes[i] = number();
                read(&values[i], sizes[i]);
            } else {
                const uint64_t which = number();
                if (kind == 1) {
                    arrays.resize(which + 1);
                    const uint64_t bytes = number();
                    if (posix_memalign(&arrays[which], 256, bytes)) exit(3);  // aligned as on a device
                    read(arrays[which], bytes);
                } else if (kind == 3) {
                    read(arrays[which], number());
                }
                memcpy(&values[i], &arrays[which], sizeof(void*));
            }
            pointers[i] = &values[i];
        }
        const char* message = emulator_launch(name.data(), grid, block, pointers.data(), sizes.data(), kinds.data(), arguments, shared, seed);
        if (message) return fprintf(stderr, "launch refused: %s\n", message), 4;
    }
    for (void* array : arrays) free(array);
    fclose(file);
    return 0;
}

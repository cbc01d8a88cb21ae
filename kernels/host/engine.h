// What the instruction-set objects (tile.cpp) and the driver (driver.cpp, tail.cpp, api.cpp) share: plain data only.
//
// tile.cpp is compiled once per instruction set and must not instantiate anything from the standard library: an inline
// function compiled for AVX-512 could be the one the linker keeps for everybody.
#pragma once
#include <cstdint>

#include "abi.h"

namespace upm {

constexpr int TILE = UPM_TILE;
constexpr int64_t PAST_CACHES = int64_t{4} << 20;  // bytes beyond which what is written goes past the caches

// How unit P&L is written. The tile that rows are summed from is always double: summing float32 would spend more time on
// widening each entry than on adding it. `mixed` rounds to float32 on the way.
enum Stored : int32_t { AS_DOUBLE = 0, AS_FLOAT = 1, ROUNDED_DOUBLE = 2 };

struct UnitTask {
  const UpmBook* book;
  const UpmProgram* program;
  const double* states;  // (dates, state_count, TILE)
  int64_t state_count;   // of the scenario set: at least those of the book
  const double* value0;  // (columns - linear,)
  int64_t column_begin, column_end;
  void* out;  // (column_end - column_begin, out_stride)
  int32_t stored;  // Stored
  int64_t out_stride;
  int32_t live;  // scenarios written a column
};

// Worst candidates of one row at one horizon, see tail.cpp.
struct Slots;
struct alignas(16) Slot {
  double threshold;  // read without the lock while other threads lower it
  int32_t count;
  unsigned char lock;
};
typedef void (*PushFunction)(Slots* slots, int64_t slot, const double* pnl, uint64_t hits, uint32_t first_scenario);

struct RowTask {
  const int64_t* entry_first;  // (rows + 1,) entries of the column block
  const int32_t* column;
  const double* quantity;
  int64_t row_begin, row_end;
  const double* unit;     // (columns of the block, TILE)
  int64_t column_offset;  // first column of the block
  int32_t live;           // scenarios of the tile inside the range
  double* sum;            // (rows, TILE) carried accumulators, or null when the block holds every column
  int32_t resume, last;   // whether earlier / no later column blocks exist
  // where finished sums go: either `out` (rows, out_stride), or the tail
  double* out;
  int64_t out_stride;
  uint32_t first_scenario;
  int64_t slot0;             // slot of row 0 at this horizon
  const Slot* slot;          // (slots,), null when `out` is set
  const double* candidate_pnl;         // (slots, capacity)
  const uint32_t* candidate_scenario;  // (slots, capacity)
  int64_t capacity;
  double* partial;           // (rows, 2) lane sums of the tile
  Slots* slots;
  PushFunction push;
  int64_t not_finite;        // counted by one call of `rows`
  int64_t* not_finite_total; // shared by all threads
};

// Rows (rows, TILE) of a finished tile on their way to out (rows, stride), `live` numbers of each; `past`: not through the caches. They leave one by one while the next
// tile is drawn: all at once they would wait for memory, which stands idle meanwhile.
struct Leaving {
  const double* from;
  int64_t rows;
  int live;
  bool past;
  double* out;
  int64_t stride;
};

struct TileFunctions {
  // states (dates, states, TILE), scratch (set->scratch, TILE); `leaving`: rows of another tile that may leave meanwhile, or null
  void (*draw)(const UpmScenarios* set, uint32_t first_scenario, int live, double* states, double* scratch, int64_t* clipped, Leaving* leaving);
  void (*value0)(const UpmBook* book, double* value0);
  void (*unit)(const UnitTask* task);
  void (*rows)(RowTask* task);
  // what is left of them
  void (*copy)(Leaving* leaving);
  // direction (bits, dimensions), scratch word (10 x dimensions + 16,), out (count, dimensions); `past`: not through the caches
  void (*points)(const uint64_t* direction, int bits, int64_t dimensions, int64_t first, int64_t count, bool past, uint64_t* word, double* out);
};

// A changed row while a tile of it is summed.
struct Running {
  int64_t item, start, change;  // its number, the entry it begins at, the change that is next
  alignas(64) double sum[UPM_KEPT_TILE];
};

// Unit P&L of a column in the order of a row: rows that follow one another often take the same.
struct Gathered {
  int32_t column;
  int64_t count;
  double* unit;  // (scenarios,)
};

// Kept rows (kept.cpp); unit P&L is float where `float32`, else double.
struct KeptFunctions {
  // out (count,): P&L of the row on scenarios [first, first + count), or on `scenario`
  void (*sums)(const UpmKept* kept, const uint32_t* scenario, int64_t first, int64_t count, double* out);
  // block and partial sums of one tile
  void (*block)(const UpmKept* kept, int64_t tile);
  // approximation of a changed row on the places [first, last) of the order, out (last - first,)
  void (*guess)(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, int64_t first, int64_t last, Gathered* near, double* out);
  // all scenarios whose approximation is at or below `bound`: ids ascending, with it; out (scenarios,). How many
  int64_t (*scan)(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, double bound, uint32_t* id, double* out);
  // largest -u / (P&L - target) and u / (P&L - target) of a column beyond the worst scenarios, out (2,)
  void (*steepest)(const UpmKept* kept, int32_t column, double target, double* out);
  // sums of changed rows on a tile
  void (*tile)(const UpmKept* kept, const UpmRowChanges* changes, int64_t tile, Running* row, int64_t rows);
  // sum of one on `count` places of the order, at most UPM_KEPT_TILE
  void (*places)(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, const int32_t* place, int64_t count, double* out);
};

// One operation of operations.def on the cases [begin, end) of `cases`: in (inputs, cases), out (outputs, cases).
struct Operation {
  int64_t number, inputs, outputs, repeated, count, together;
  void (*run)(const double* in, double* out, int64_t cases, int64_t begin, int64_t end);
};
struct Operations {
  const Operation* all;
  int64_t size;
};

}  // namespace upm

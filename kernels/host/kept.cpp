// Sums of kept rows on tiles of scenarios. Compiled once per instruction set, as tile.cpp: the same operations in the same order in each, so all give the same bits.
//
// A row is one float64 sum over its entries in their order, multiply then add, from 0.0. Scenarios stand side by side, so vectors change no sum.
#include "engine.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace UPM_ISA {
namespace {

using namespace upm;

constexpr int T = TILE;
constexpr int K = UPM_KEPT_TILE;

#include "lanes.inc"

constexpr int V = K / W;  // vectors a tile of a kept row
typedef double Anywhere __attribute__((vector_size(UPM_VECTOR_BYTES), aligned(8)));  // of arrays that others allocated

constexpr int BESIDE = V <= 4 ? 4 : 1;  // rows whose sums fit into the registers together
constexpr int SCAN = 2048;  // scenarios whose approximation stays in the first cache

constexpr int AT_ONCE = 32;  // entries whose products stay in the first cache
static_assert(AT_ONCE % UPM_KEPT_STEP == 0, "a row begins at a kept sum");

enum Kind { OTHER_QUANTITY = 0, NEW_COLUMN = 1, GONE = 2 };

template <class Stored>
const Stored* column_of(const UpmKept* kept, int32_t column) {
  return static_cast<const Stored*>(kept->unit) + column * kept->scenarios;
}

template <class Stored>
void sums_of(const UpmKept* kept, const uint32_t* scenario, int64_t first, int64_t count, double* out) {
  for (int64_t s = 0; s < count; ++s) out[s] = 0.0;
  for (int64_t e = 0; e < kept->entries; ++e) {
    const Stored* unit = column_of<Stored>(kept, kept->column[e]) + (scenario ? 0 : first);
    const double quantity = kept->quantity[e];
    if (scenario)
      for (int64_t s = 0; s < count; ++s) out[s] += quantity * static_cast<double>(unit[scenario[s]]);
    else
      for (int64_t s = 0; s < count; ++s) out[s] += quantity * static_cast<double>(unit[s]);
  }
}

// Most that one contract of a column against the row's sum can take a scenario beyond the worst ones towards `target`: largest -u / (P&L - target) and u / (P&L - target).
template <class Stored>
void steepest_of(const UpmKept* kept, int32_t column, double target, double* out) {
  const Stored* unit = column_of<Stored>(kept, column);
  const double least = kept->ascending[kept->worst];
  double down[W] = {}, up[W] = {};
  int64_t s = 0;
  for (; s + W <= kept->scenarios; s += W)
    for (int i = 0; i < W; ++i) {
      const double pnl = kept->pnl[s + i], slope = pnl >= least ? static_cast<double>(unit[s + i]) / (pnl - target) : 0.0;
      down[i] = -slope > down[i] ? -slope : down[i];
      up[i] = slope > up[i] ? slope : up[i];
    }
  for (; s < kept->scenarios; ++s) {
    const double pnl = kept->pnl[s], slope = pnl >= least ? static_cast<double>(unit[s]) / (pnl - target) : 0.0;
    down[0] = -slope > down[0] ? -slope : down[0];
    up[0] = slope > up[0] ? slope : up[0];
  }
  for (int i = 1; i < W; ++i) {
    down[0] = down[i] > down[0] ? down[i] : down[0];
    up[0] = up[i] > up[0] ? up[i] : up[0];
  }
  out[0] = down[0], out[1] = up[0];
}

template <class Stored>
void block_of(const UpmKept* kept, int64_t tile) {
  const uint32_t* order = kept->order + tile * K;
  Stored* block = static_cast<Stored*>(kept->block) + tile * kept->entries * K;
  double* partial = kept->partial + tile * (kept->entries / UPM_KEPT_STEP + 1) * K;
  double sum[K] = {};
  for (int64_t e = 0; e < kept->entries; ++e) {
    if (e % UPM_KEPT_STEP == 0)
      for (int s = 0; s < K; ++s) partial[e / UPM_KEPT_STEP * K + s] = sum[s];
    const Stored* unit = column_of<Stored>(kept, kept->column[e]);
    for (int s = 0; s < K; ++s) block[e * K + s] = unit[order[s]];
    for (int s = 0; s < K; ++s) sum[s] += kept->quantity[e] * static_cast<double>(block[e * K + s]);
  }
  if (kept->entries % UPM_KEPT_STEP == 0)
    for (int s = 0; s < K; ++s) partial[kept->entries / UPM_KEPT_STEP * K + s] = sum[s];
}

template <class Stored>
void guess_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, int64_t first, int64_t last, Gathered* near, double* out) {
  for (int64_t i = first; i < last; ++i) out[i - first] = kept->ascending[i];
  for (int64_t e = changes->first[item]; e < changes->first[item + 1]; ++e) {
    const Stored* unit = column_of<Stored>(kept, changes->column[e]);
    const double difference = changes->difference[e];
    int64_t i = first;
    if (changes->kind[e] != NEW_COLUMN)  // columns of the row lie together
      for (const Stored* block = static_cast<const Stored*>(kept->block) + changes->place[e] * K; i < last && i < kept->worst;) {
        const int64_t tile = i / K, stop = (tile + 1) * K < last ? (tile + 1) * K : last;
        const Stored* own = block + tile * (kept->entries - 1) * K;  // + i
        for (; i < stop; ++i) out[i - first] += difference * static_cast<double>(own[i]);
      }
    if (i == last) continue;
    if (near->column != changes->column[e]) near->column = changes->column[e], near->count = 0;
    for (int64_t n = near->count; n < last; ++n) near->unit[n] = static_cast<double>(unit[kept->order[n]]);
    near->count = near->count > last ? near->count : last;
    for (; i < last; ++i) out[i - first] += difference * near->unit[i];
  }
}

// In the order of ids: for changes that may bring in any scenario, a stream past all of them is faster than gathering in the order of the P&L.
template <class Stored>
int64_t scan_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, double bound, uint32_t* id, double* out) {
  int64_t count = 0;
  alignas(64) double guess[SCAN];
  for (int64_t first = 0; first < kept->scenarios; first += SCAN) {
    const int64_t n = kept->scenarios - first < SCAN ? kept->scenarios - first : SCAN;
    for (int64_t s = 0; s < n; ++s) guess[s] = kept->pnl[first + s];
    for (int64_t e = changes->first[item]; e < changes->first[item + 1]; ++e) {
      const Stored* unit = column_of<Stored>(kept, changes->column[e]) + first;
      const double difference = changes->difference[e];
      for (int64_t s = 0; s < n; ++s) guess[s] += difference * static_cast<double>(unit[s]);
    }
    for (int64_t start = 0; start < n; start += T) {
      uint64_t hits = at_or_below(guess + start, bound);
      if (n - start < T) hits &= ((uint64_t)1 << (n - start)) - 1;
      for (; hits; hits &= hits - 1, ++count) {
        const int64_t s = start + __builtin_ctzll(hits);
        id[count] = static_cast<uint32_t>(first + s), out[count] = guess[s];
      }
    }
  }
  return count;
}

inline __attribute__((always_inline)) void add(Vector* sum, const double* x) {
  const Vector* v = (const Vector*)x;
#pragma GCC unroll 16
  for (int i = 0; i < V; ++i) sum[i] += v[i];
}

// A column that no row had before, on a tile: rows that follow one another often take the same.
struct Fresh {
  int32_t column;
  alignas(64) double unit[K];
};

// One changed row over the entries [begin, end) of a tile, products of the kept row beside it; `last`: what is new behind the last entry too.
template <class Stored>
void advance(const UpmKept* kept, const UpmRowChanges* changes, int64_t tile, int64_t begin, int64_t end, bool last, const Stored* block, const double* products, Fresh* fresh, Running* row) {
  const int64_t stop = changes->first[row->item + 1];
  int64_t e = row->start > begin ? row->start : begin;
  Vector sum[V];
  // before its first change a row is the kept one
  const double* before = e == row->start ? kept->partial + (tile * (kept->entries / UPM_KEPT_STEP + 1) + e / UPM_KEPT_STEP) * K : row->sum;
#pragma GCC unroll 16
  for (int i = 0; i < V; ++i) sum[i] = ((const Anywhere*)before)[i];
  for (;;) {
    const bool changed = row->change < stop && (last || changes->place[row->change] < end);
    const int64_t until = changed ? changes->place[row->change] : end;
    for (; e < until; ++e) add(sum, products + (e - begin) * K);
    if (!changed) break;
    const int32_t kind = changes->kind[row->change];
    if (kind != GONE) {
      alignas(64) double product[K];
      const double quantity = changes->quantity[row->change];
      if (kind == OTHER_QUANTITY) {
        for (int s = 0; s < K; ++s) product[s] = quantity * static_cast<double>(block[e * K + s]);
      } else {
        if (fresh->column != changes->column[row->change]) {
          fresh->column = changes->column[row->change];
          const Stored* unit = column_of<Stored>(kept, fresh->column);
          for (int s = 0; s < K; ++s) fresh->unit[s] = static_cast<double>(unit[kept->order[tile * K + s]]);
        }
        for (int s = 0; s < K; ++s) product[s] = quantity * fresh->unit[s];
      }
      add(sum, product);
    }
    e += kind != NEW_COLUMN;
    ++row->change;
  }
#pragma GCC unroll 16
  for (int i = 0; i < V; ++i) ((Vector*)row->sum)[i] = sum[i];
}

// Rows without a change in `count` entries, BESIDE at once: more chains of sums than one row has are under way, and a product is read once for all of them.
void advance_beside(const double* products, int64_t count, Running** row) {
  Vector sum[BESIDE][V];
#pragma GCC unroll 16
  for (int r = 0; r < BESIDE; ++r)
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) sum[r][i] = ((const Vector*)row[r]->sum)[i];
  for (int64_t e = 0; e < count; ++e) {
    const Vector* x = (const Vector*)(products + e * K);
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i)
#pragma GCC unroll 16
      for (int r = 0; r < BESIDE; ++r) sum[r][i] += x[i];
  }
#pragma GCC unroll 16
  for (int r = 0; r < BESIDE; ++r)
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) ((Vector*)row[r]->sum)[i] = sum[r][i];
}

// All rows together, some entries at a time, so that their products stay in the first cache.
template <class Stored>
void tile_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t tile, Running* row, int64_t rows) {
  const Stored* block = static_cast<const Stored*>(kept->block) + tile * kept->entries * K;
  alignas(64) double products[AT_ONCE * K];
  Fresh fresh;
  fresh.column = -1;
  int64_t begin = kept->entries;
  for (int64_t i = 0; i < rows; ++i) {
    row[i].change = changes->first[row[i].item];
    const int64_t place = row[i].change < changes->first[row[i].item + 1] ? changes->place[row[i].change] : kept->entries;
    row[i].start = place / UPM_KEPT_STEP * UPM_KEPT_STEP;
    if (row[i].start < begin) begin = row[i].start;
  }
  for (begin = begin / AT_ONCE * AT_ONCE;; begin += AT_ONCE) {
    const int64_t end = begin + AT_ONCE < kept->entries ? begin + AT_ONCE : kept->entries;
    for (int64_t e = begin; e < end; ++e)
      for (int s = 0; s < K; ++s) products[(e - begin) * K + s] = kept->quantity[e] * static_cast<double>(block[e * K + s]);
    const bool last = end == kept->entries;
    Running* plain[BESIDE];
    int beside = 0;
    for (int64_t i = 0; i < rows; ++i) {
      if (row[i].start >= end && !last) continue;
      const int64_t stop = changes->first[row[i].item + 1];
      if (row[i].start >= begin || (row[i].change < stop && (last || changes->place[row[i].change] < end))) {
        advance(kept, changes, tile, begin, end, last, block, products, &fresh, &row[i]);
        continue;
      }
      plain[beside++] = &row[i];
      if (beside == BESIDE) advance_beside(products, end - begin, plain), beside = 0;
    }
    for (int i = 0; i < beside; ++i) advance(kept, changes, tile, begin, end, last, block, products, &fresh, plain[i]);
    if (last) break;
  }
}

template <class Stored>
void places_of(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, const int32_t* place, int64_t count, double* out) {
  const int64_t end = changes->first[item + 1];
  uint32_t scenario[K];
  for (int64_t s = 0; s < count; ++s) scenario[s] = kept->order[place[s]], out[s] = 0.0;
  int64_t change = changes->first[item];
  for (int64_t e = 0; e <= kept->entries; ++e) {
    bool own = e < kept->entries;
    for (; change < end && changes->place[change] == e; ++change) {
      own = own && changes->kind[change] == NEW_COLUMN;
      if (changes->kind[change] == GONE) continue;
      const Stored* unit = column_of<Stored>(kept, changes->column[change]);
      for (int64_t s = 0; s < count; ++s) out[s] += changes->quantity[change] * static_cast<double>(unit[scenario[s]]);
    }
    if (!own) continue;
    const Stored* unit = column_of<Stored>(kept, kept->column[e]);
    for (int64_t s = 0; s < count; ++s) out[s] += kept->quantity[e] * static_cast<double>(unit[scenario[s]]);
  }
}

void sums(const UpmKept* kept, const uint32_t* scenario, int64_t first, int64_t count, double* out) {
  (kept->float32 ? sums_of<float> : sums_of<double>)(kept, scenario, first, count, out);
}
void block(const UpmKept* kept, int64_t tile) { (kept->float32 ? block_of<float> : block_of<double>)(kept, tile); }
void guess(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, int64_t first, int64_t last, Gathered* near, double* out) {
  (kept->float32 ? guess_of<float> : guess_of<double>)(kept, changes, item, first, last, near, out);
}
int64_t scan(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, double bound, uint32_t* id, double* out) {
  return (kept->float32 ? scan_of<float> : scan_of<double>)(kept, changes, item, bound, id, out);
}
void steepest(const UpmKept* kept, int32_t column, double target, double* out) { (kept->float32 ? steepest_of<float> : steepest_of<double>)(kept, column, target, out); }
void tile(const UpmKept* kept, const UpmRowChanges* changes, int64_t at, Running* row, int64_t rows) {
  (kept->float32 ? tile_of<float> : tile_of<double>)(kept, changes, at, row, rows);
}
void places(const UpmKept* kept, const UpmRowChanges* changes, int64_t item, const int32_t* place, int64_t count, double* out) {
  (kept->float32 ? places_of<float> : places_of<double>)(kept, changes, item, place, count, out);
}

}  // namespace

extern const upm::KeptFunctions kept_functions;
const upm::KeptFunctions kept_functions = {sums, block, guess, scan, steepest, tile, places};

}  // namespace UPM_ISA

// Rows: sums over columns, block sums across scenarios, the worst scenarios of each row.
// Twin: upm_gpu/backend/reference (row_pnl, block_sum, row_tail); orchestration: upm_gpu/backend/cuda/tail.py.
//
// Arrays: unit (C, stride) unit P&L of a wave of scenarios, rows in CSR (first, column, quantity), pnl (R, stride) float64.
// Profit is positive. No floating atomics: the sums have the shape of upm_gpu/backend/contract.py, and the candidates
// of a row are a set that integer atomics collect in any order and `sort_candidates` then puts in the order (pnl, id).
#include "platform.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

#define LANES 8
#define TILE 64
#define TILES 64
#define BLOCK_SCENARIOS (TILE * TILES)
#define SUM_THREADS (LANES * TILES)
#define ROW_THREADS 256
#define TILE_THREADS 512
#define TILE_SCENARIOS 8
#define SORT_THREADS 256
#define NO_SCENARIO 0xFFFFFFFFu

// Four neighbouring scenarios, one aligned load.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T at[4];
};

// Columns ascending, multiply then add, one accumulator a scenario; a thread sums four scenarios of a row.
// Grid (rows / 8, scenarios / 128): rows run fastest, so the blocks at work share the columns of few scenarios.
// Block (32, 8). `stride` is a multiple of 64; what lies between `scenarios` and it is summed and thrown away.
template <class Stored>
UPM_INLINE void sum_row(const Stored* unit, i64 stride, i32 scenarios, const i64* first, const i32* column, const double* quantity, i32 rows, double* pnl) {
  const i32 scenario = 4 * (i32)(blockIdx.y * blockDim.x + threadIdx.x);
  const i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows || scenario >= scenarios) return;
  Four<double> total = {{0.0, 0.0, 0.0, 0.0}};
  const i64 last = first[row + 1];
  for (i64 entry = first[row]; entry < last; ++entry) {
    const double q = quantity[entry];
    const Four<Stored> value = *(const Four<Stored>*)(unit + column[entry] * stride + scenario);
#pragma unroll
    for (i32 j = 0; j < 4; ++j) total.at[j] = total.at[j] + q * (double)value.at[j];
  }
  *(Four<double>*)(pnl + row * stride + scenario) = total;
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(ROW_THREADS, 4) row_sums_float(const float* unit, i64 stride, i32 scenarios, const i64* first, const i32* column,
                                                             const double* quantity, i32 rows, double* pnl) {
  sum_row(unit, stride, scenarios, first, column, quantity, rows, pnl);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(ROW_THREADS, 4) row_sums_double(const double* unit, i64 stride, i32 scenarios, const i64* first, const i32* column,
                                                              const double* quantity, i32 rows, double* pnl) {
  sum_row(unit, stride, scenarios, first, column, quantity, rows, pnl);
}

// The same sums with the columns of eight scenarios in shared memory: a row then reads 16 bytes of shared memory where it
// read 16 of the L2 cache, and every block streams all rows. Bit-equal to row_sums_float.
// Grid (scenarios / 8); block TILE_THREADS, two threads a row; shared: columns x 8 floats.
UPM_GLOBAL UPM_LAUNCH_BOUNDS(TILE_THREADS, 1) row_sums_tile(const float* unit, i64 stride, i32 columns, const i64* first, const i32* column, const double* quantity,
                                                             i32 rows, double* pnl) {
  UPM_DYNAMIC_SHARED(Four<float>, tile);
  const i32 thread = (i32)threadIdx.x, threads = (i32)blockDim.x, part = thread % 2;
  const i64 scenario = (i64)blockIdx.x * TILE_SCENARIOS;
  for (i32 i = thread; i < 2 * columns; i += threads) tile[i] = *(const Four<float>*)(unit + (i / 2) * stride + scenario + 4 * (i % 2));
  __syncthreads();
  for (i64 row = thread / 2; row < rows; row += threads / 2) {
    Four<double> total = {{0.0, 0.0, 0.0, 0.0}};
    const i64 last = first[row + 1];
#pragma unroll 4
    for (i64 entry = first[row]; entry < last; ++entry) {
      const double q = quantity[entry];
      const Four<float> value = tile[2 * column[entry] + part];
#pragma unroll
      for (i32 j = 0; j < 4; ++j) total.at[j] = total.at[j] + q * (double)value.at[j];
    }
    *(Four<double>*)(pnl + row * stride + scenario + 4 * part) = total;
  }
}

// Sum and sum of squares of one row over one aligned block of 4,096 scenarios; values that are not finite are counted.
// Grid (rows, blocks of the wave); block SUM_THREADS: lane l of tile t is thread t LANES + l.
// Shared: 2 x SUM_THREADS doubles. sums (blocks, R, 2).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(SUM_THREADS, 2) block_sums(const double* pnl, i64 stride, i32 scenarios, i32 rows, double* sums, u64* not_finite) {
  UPM_DYNAMIC_SHARED(double, partial);
  double* squares = partial + SUM_THREADS;
  const i32 thread = (i32)threadIdx.x, lane = thread % LANES, tile = thread / LANES;
  const i64 row = blockIdx.x;
  const i32 origin = (i32)blockIdx.y * BLOCK_SCENARIOS + tile * TILE;
  double sum = 0.0, square = 0.0;
  u64 bad = 0;
  for (i32 i = lane; i < TILE; i += LANES) {
    if (origin + i < scenarios) {
      const double x = pnl[row * stride + origin + i];
      sum = sum + x;
      square = square + x * x;
      bad += !(upm::absolute(x) < upm::infinity());
    }
  }
  if (bad) atomicAdd(not_finite, bad);
  partial[thread] = sum;
  squares[thread] = square;
  __syncthreads();
  // Threads 0..63 add the lanes of a tile, threads 64..127 those of the squares: each writes where only it has read.
  if (thread < 2 * TILES) {
    double* lanes = (thread < TILES ? partial : squares) + (thread % TILES) * LANES;
    double total = 0.0;
    for (i32 l = 0; l < LANES; ++l) total = total + lanes[l];
    lanes[0] = total;
  }
  __syncthreads();
  if (thread < 2) {
    const double* tiles = thread ? squares : partial;
    double total = 0.0;
    for (i32 t = 0; t < TILES; ++t) total = total + tiles[t * LANES];
    sums[((i64)blockIdx.y * rows + row) * 2 + thread] = total;
  }
}

// Appends the scenarios of [from, to) whose P&L is at or below the row's threshold. `count` goes on counting past
// `capacity`; the caller sees that and does the range again in halves, from counts kept before.
// Grid (rows, scenario tiles); block ROW_THREADS.
UPM_GLOBAL UPM_LAUNCH_BOUNDS(ROW_THREADS, 4) keep_candidates(const double* pnl, i64 stride, i32 from, i32 to, u32 first_scenario, const double* threshold,
                                                              i32 capacity, i32* count, double* kept_pnl, u32* kept_scenario) {
  const i32 scenario = from + (i32)(blockIdx.y * blockDim.x + threadIdx.x);
  const i64 row = blockIdx.x;
  if (scenario >= to) return;
  const double x = pnl[row * stride + scenario];
  if (x <= threshold[row]) {
    const i32 slot = atomicAdd(&count[row], 1);
    if (slot < capacity) {
      kept_pnl[row * capacity + slot] = x;
      kept_scenario[row * capacity + slot] = first_scenario + (u32)scenario;
    }
  }
}

UPM_INLINE bool worse(double a, u32 a_id, double b, u32 b_id) { return a < b || (a == b && a_id < b_id); }

// Bitonic sort of n (a power of two) pairs by (pnl, id) with one block; in shared or global memory.
UPM_INLINE void sort_pairs(double* pnl, u32* id, i32 n) {
  for (i32 size = 2; size <= n; size *= 2) {
    for (i32 step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (i32 pair = (i32)threadIdx.x; pair < n / 2; pair += (i32)blockDim.x) {
        const i32 low = 2 * pair - (pair & (step - 1)), high = low + step;
        const bool ascending = (low & size) == 0;
        const double a = pnl[low], b = pnl[high];
        const u32 a_id = id[low], b_id = id[high];
        if (ascending ? worse(b, b_id, a, a_id) : worse(a, a_id, b, b_id)) {
          pnl[low] = b, pnl[high] = a;
          id[low] = b_id, id[high] = a_id;
        }
      }
    }
  }
  __syncthreads();
}

// Sorts the candidates of a row, keeps the worst `depth`, pads with +inf, and lowers the row's threshold to the depth-th
// worst once there are that many. `in_shared`: the block has (capacity) doubles and ids of shared memory to sort in.
// Grid (rows); block SORT_THREADS.
UPM_GLOBAL UPM_LAUNCH_BOUNDS(SORT_THREADS, 1) sort_candidates(i32 capacity, i32 depth, i32 in_shared, i32* count, double* threshold, double* kept_pnl,
                                                               u32* kept_scenario) {
  UPM_DYNAMIC_SHARED(double, memory);
  const i64 row = blockIdx.x;
  const i32 thread = (i32)threadIdx.x, threads = (i32)blockDim.x;
  double* own_pnl = kept_pnl + row * capacity;
  u32* own_id = kept_scenario + row * capacity;
  double* pnl = in_shared ? memory : own_pnl;
  u32* id = in_shared ? (u32*)(memory + capacity) : own_id;
  const i32 held = count[row];
  i32 n = 1;
  while (n < held || n < depth) n *= 2;
  for (i32 i = thread; i < n; i += threads) {
    pnl[i] = i < held ? own_pnl[i] : upm::infinity();
    id[i] = i < held ? own_id[i] : NO_SCENARIO;
  }
  sort_pairs(pnl, id, n);  // begins with a barrier
  if (in_shared)
    for (i32 i = thread; i < depth; i += threads) {
      own_pnl[i] = pnl[i];
      own_id[i] = id[i];
    }
  if (thread == 0 && held >= depth) {
    count[row] = depth;
    threshold[row] = pnl[depth - 1];
  }
}

// The worst `depth` of every row out of their buffers. Grid (rows, rank tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(SORT_THREADS, 1) collect_tail(i32 capacity, i32 depth, const double* kept_pnl, const u32* kept_scenario, double* pnl, u32* scenario) {
  const i64 row = blockIdx.x;
  const i32 rank = (i32)(blockIdx.y * blockDim.x + threadIdx.x);
  if (rank >= depth) return;
  pnl[row * depth + rank] = kept_pnl[row * capacity + rank];
  scenario[row * depth + rank] = kept_scenario[row * capacity + rank];
}

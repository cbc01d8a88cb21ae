// The C ABI of libupm_host: plain structs and functions, read by ctypes (upm_gpu/backend/cpu/library.py).
//
// Every function returns a status and takes the lengths of what it writes. Pointers are borrowed: the caller keeps the
// arrays of a prepared book alive until upm_release. Axes as in upm_gpu/pricing/compiled.py: scenario is the last one.
#pragma once
#include <cstdint>

#define UPM_ABI_VERSION 10
#define UPM_TILE 64      // scenarios a tile; the lane sums of backend/contract.py are defined on it
#define UPM_BLOCK 4096   // scenarios a block
#define UPM_GROUP_INTEGERS 19
#define UPM_GROUP_REALS 39
#define UPM_TERMS 6
#define UPM_KEPT_TILE 32 // scenarios of a kept row that are summed side by side
#define UPM_KEPT_STEP 32 // entries between kept partial sums

enum UpmStatus : int32_t { UPM_OK = 0, UPM_BAD_ARGUMENT = 1, UPM_NO_MEMORY = 2, UPM_NO_ISA = 3, UPM_INTERNAL = 4 };

extern "C" {

// ValueTable; the layout of upm::ValueTable.
struct UpmValueTable {
  double low[2], inverse_step[2];
  int64_t nodes[2];
  const double* value;  // (nodes[0], nodes[1])
};

// One horizon: Program.
struct UpmProgram {
  int64_t groups;
  const int32_t* linear_state;    // (linear,)
  const int32_t* linear_date;     // (linear,)
  const int32_t* linear_form;     // (linear,)
  const int32_t* group_integers;  // (groups, UPM_GROUP_INTEGERS)
  const double* group_reals;      // (groups, UPM_GROUP_REALS)
  int64_t tables;
  const UpmValueTable* table;     // (tables,)
};

// Compiled and Rows.
struct UpmBook {
  int64_t columns, linear, dates, states, horizons, rows, entries;
  const double* terms;         // (UPM_TERMS, columns - linear)
  const UpmProgram* programs;  // (horizons,)
  const int64_t* row_first;    // (rows + 1,)
  const int32_t* row_column;   // (entries,)
  const double* row_quantity;  // (entries,)
  int32_t store_float32;       // 1: `mixed`, 0: `double`
  int32_t reserved;
};

// SmoothTable.
struct UpmTable {
  double low, inverse_width;
  int64_t cells;
  const double* coefficients;  // (cells, 8)
};

// Jumps.
struct UpmJumps {
  int64_t clocks, most, splits, tables, stream;
  const uint32_t* address;           // (clocks,)
  const double* mean;                // (clocks,)
  const double* deviation;           // (clocks,)
  const double* threshold;           // (clocks, most)
  const int32_t* leg_first_split;    // (legs + 1,)
  const uint32_t* split_stream;      // (splits,)
  const uint32_t* split_step;        // (splits,)
  const int32_t* split_side;         // (splits,)
  const int32_t* split_table;        // (splits,)
  const double* split_threshold;     // (tables, most + 1, most)
  const int32_t* first_entry;        // (states + 1,)
  const int32_t* entry_clock;        // (first_entry[states],)
  const double* entry_loading;       // (first_entry[states],)
};

// Regimes: roots of `size` doubles each, in the place of cholesky (or of UpmGarch.loading).
struct UpmRegimes {
  int64_t count, size;
  uint32_t stream, shift;
  const double* threshold;  // (count - 1,)
  const double* root;       // (count, size)
};

// Heston, behind `model`; UpmScenarios has seed, cholesky (underlyings, underlyings), legs, terms, dates, centre (dates, underlyings), jumps.
struct UpmHeston {
  int64_t underlyings, classes, shifts;
  const double* variance0;          // (underlyings,)
  const double* rho;                // (underlyings,)
  const double* constants;          // (classes, underlyings, 7)
  const int32_t* leg_class;         // (legs,)
  const int32_t* shift_underlying;  // (shifts,)
  const double* shift_base;         // (shifts,)
  const double* shift_slope;        // (shifts,)
  int64_t copula_substeps;          // of a base step; 0: no copula. Its mixing is that of UpmScenarios
  uint32_t copula_stream, reserved;
  UpmTable copula_marginal;
  const double* copula_weight;      // (legs,)
  const struct UpmDraws* draws;     // null: plain
};

// Explicit (kind 0) or a kind of kernels/models.def; a kind that needs more than is here has a struct of its own behind `model`.
struct UpmScenarios {
  int32_t kind, has_mixing;
  int64_t states, dates, count;
  int64_t scratch;       // rows of TILE doubles a thread lends to the draw
  const void* model;
  const UpmJumps* jumps; // null: none
  const double* values;  // kind 0: (dates, states, count)
  uint64_t seed;
  const double* cholesky;      // (states, states)
  const double* scale;         // (states,)
  const double* max_log_move;  // (states,)
  const int32_t* marginal;     // (states,)
  const UpmTable* tables;      // (table_count,)
  int64_t table_count;
  UpmTable mixing;
  int64_t mixing_stream;
  int64_t legs, terms;
  const uint32_t* leg_step;       // (legs,)
  const double* leg_root;         // (legs,)
  const int32_t* leg_first_term;  // (legs + 1,)
  const uint32_t* term_stream;    // (terms,)
  const uint32_t* term_step;      // (terms,)
  const double* term_weight;      // (terms,)
  const int32_t* date_whole;      // (dates,)
  const int32_t* date_leg;        // (dates,)
  const double* centre;           // (dates, states)
  const UpmRegimes* regimes;      // null: one square root
  const double* persistence;      // (states,) of walk and garch, or null: 1
  const double* date_persistence; // (dates, states), where persistence is given
};

// SampledWalk, behind `model` of a set of kind sampled_walk whose other fields are those of a walk.
struct UpmDraws {
  int32_t sampler, dense;  // sampler: 1 antithetic, 2 moments matched, 3 Sobol (Owen), 4 Sobol (digital shift), 5 importance
  int64_t steps, dimensions, blocks;
  const uint32_t* direction;        // (dimensions, 28)
  const uint32_t* key;              // (dimensions, 4, 16)
  const int32_t* factor_dimension;  // (steps, states)
  const int32_t* mixing_dimension;  // (steps,)
  const double* moments;            // (blocks, steps, states, 2)
  int64_t components;               // of the importance mixture
  uint32_t mixture_stream, reserved;
  const double* threshold;          // (components - 1,)
  const double* shift;              // (components, steps, states + 1)
  const double* path;               // (steps, steps) of a turned path, or null
  int64_t winner_dimension;
  int64_t factors;                  // factor words: states of a walk, 2 x underlyings of Heston; `states` above
};

// Resample, behind `model` of kind 10; `values` is (dates, states, rows).
struct UpmResample {
  int64_t rows;
  uint32_t stream, reserved;
  const int32_t* clipped;  // (states, rows)
};

// GarchWalk, behind `model` of kind 11. Of UpmScenarios it reads cholesky, max_log_move, marginal, tables, mixing_stream, legs, terms, dates and `centre` as drift.
struct UpmGarch {
  int64_t rows, common, groups, centrings;
  const double* residual;         // (rows, residual_stride), or null: drawn normals
  const double* loading;          // (states, common + 1): of the common factors, then the specific part; or null: cholesky
  const int32_t* group;           // (states,)
  const UpmTable* mixing;         // (groups,)
  const int32_t* odd;             // (tables,)
  const double *omega, *alpha, *falling, *beta, *variance, *top;  // (states,) each; falling: alpha + gamma
  const UpmTable* centring;       // (centrings,)
  const int32_t* centring_of;     // (legs, states)
  int64_t residual_stride;        // numbers a date: a multiple of 8, at least `states`
};

// Derived, behind `model` of kind 20: operations on the states of `base`, whose states come first. `scratch` of the set holds the base's states and scratch.
struct UpmDerived {
  const UpmScenarios* base;
  int64_t operations;
  const int32_t* operation;     // (operations,) numbers of derived.def
  const int32_t* first_output;  // (operations + 1,)
  const int32_t* first_input;   // (operations + 1,)
  const int32_t* input;         // states below the operation's outputs, or -1
  const int32_t* first_real;    // (operations + 1,)
  const double* real;
  const double* days;           // (dates,)
  int64_t lent;                 // rows of scratch of an operation
};

// A row kept on all scenarios: KeptRow of upm_gpu/backend/kept.py. Its unit P&L on the `worst` scenarios where it loses most lies together, tile by tile.
struct UpmKept {
  int64_t columns, scenarios, entries, worst;  // worst: a multiple of UPM_KEPT_TILE, at most `scenarios`
  const void* unit;         // (columns, scenarios), float32 or float64
  const int32_t* column;    // (entries,) in the order of the sum
  const double* quantity;   // (entries,)
  const uint32_t* order;    // (scenarios,) worst first
  const double* ascending;  // (scenarios,) P&L in that order
  const double* pnl;        // (scenarios,) by id
  const uint32_t* rank;     // (scenarios,) place of each id in the order
  void* block;              // (worst / UPM_KEPT_TILE, entries, UPM_KEPT_TILE), type of `unit`
  double* partial;          // (worst / UPM_KEPT_TILE, entries / UPM_KEPT_STEP + 1, UPM_KEPT_TILE): the sum before every UPM_KEPT_STEP-th entry
  double* steepest;         // (columns, 2) filled as it is needed, NaN before: see `enters` of kept_rows.cpp
  int32_t float32, reserved;
};

// Changed rows as what differs from a kept one: RowChanges. Entries of an item ascend by place, insertions before what they stand in front of.
struct UpmRowChanges {
  int64_t items, entries;
  const int64_t* first;      // (items + 1,)
  const int32_t* place;      // (entries,) in the kept row
  const int32_t* kind;       // (entries,) 0: another quantity, 1: a new column in front, 2: gone
  const int32_t* column;     // (entries,)
  const double* quantity;    // (entries,)
  const double* difference;  // (entries,) of quantity
  const double* guard;       // (items,) twice what approximation and sum can differ by
  const double* least;       // (items,) least that the changes can add on any scenario
};

int32_t upm_abi_version();
int64_t upm_struct_bytes(int32_t which);  // in the order of STRUCTS in library.py

// Instruction sets built in, widest first; upm_isa_runs says whether this processor has it.
int32_t upm_isa_count();
const char* upm_isa_name(int32_t isa);
int32_t upm_isa_runs(int32_t isa);

// isa -1, here and below: the widest that runs. block_columns 0: from the size of the L2 cache.
int32_t upm_prepare(const UpmBook* book, int32_t isa, int64_t block_columns, void** prepared, double* value0, int64_t value0_length);
void upm_release(void* prepared);
int32_t upm_prepared_isa(const void* prepared);
// Rough single-thread nanoseconds a scenario, to size calls well below one second.
double upm_cost(const void* prepared, const UpmScenarios* set);

// Seconds of all row_tail calls so far, summed over threads: simulate, price, aggregate, tail.
int32_t upm_timings(const void* prepared, double* out, int64_t length);

int32_t upm_states(const void* prepared, const UpmScenarios* set, int64_t first, int64_t last, int32_t threads, double* out, int64_t length);
int32_t upm_unit_pnl(const void* prepared, const UpmScenarios* set, int64_t first, int64_t last, int64_t horizon, int32_t threads, void* out, int64_t bytes);
int32_t upm_row_pnl(const void* prepared, const UpmScenarios* set, int64_t first, int64_t last, int64_t horizon, int32_t threads, double* out, int64_t length);
// pnl and scenario (horizons, rows, depth); sums (blocks, horizons, rows, 2); clipped (states,); threshold null or (horizons, rows).
int32_t upm_row_tail(const void* prepared, const UpmScenarios* set, int64_t first, int64_t last, int64_t depth, const double* threshold, int32_t threads,
                     double* pnl, uint32_t* scenario, int64_t length, double* sums, int64_t sums_length, int64_t* clipped, int64_t clipped_length,
                     int64_t* not_finite);
// Adds weight x unit P&L of the tail scenarios inside [first, last) to total (entries,), ascending scenarios; the caller passes
// ascending ranges and multiplies by the quantities at the end. tail_first (rows + 1,).
int32_t upm_attribution(const void* prepared, const UpmScenarios* set, int64_t first, int64_t last, int64_t horizon, const int64_t* tail_first,
                        const uint32_t* tail_scenario, const double* tail_weight, int64_t tail_length, int32_t threads, double* total, int64_t length);
// An operation of operations.def by its number: in (inputs, cases), out (outputs, cases), in the order of its header. Where columns repeat, the width
// of `in` is that of the longest case.
int32_t upm_values(int32_t isa, int32_t operation, int64_t cases, const double* in, int64_t in_length, double* out, int64_t out_length, int32_t threads);
// Worst `depth` of two ascending lists a slot, by (pnl, scenario). The result may lie in the arrays of `a` (depth = depth_a).
int32_t upm_merge_tails(int64_t slots, const double* pnl_a, const uint32_t* scenario_a, int64_t depth_a, const double* pnl_b, const uint32_t* scenario_b,
                        int64_t depth_b, double* pnl, uint32_t* scenario, int64_t depth, int32_t threads);
// Points [first, first + count) of the unscrambled Sobol sequence, out (count, dimensions) in [0, 1); direction (bits <= 52, dimensions), 2^bits points in all.
int32_t upm_sobol_points(int32_t isa, const uint64_t* direction, int64_t bits, int64_t dimensions, int64_t first, int64_t count, double* out, int64_t length);
// P&L of a row (unit, column, quantity of `kept`) on all scenarios, or on those listed: multiply then add in the order of its entries, from 0.0; out (length,).
int32_t upm_kept_sums(int32_t isa, const UpmKept* kept, const uint32_t* scenario, int64_t length, int32_t threads, double* out);
// Fills `block` and `partial`.
int32_t upm_kept_block(int32_t isa, const UpmKept* kept, int32_t threads);
// The `depth` worst scenarios of every changed row by (P&L, scenario), its P&L summed in full; out (items, depth).
int32_t upm_changed_tails(int32_t isa, const UpmKept* kept, const UpmRowChanges* changes, int64_t depth, int32_t threads, double* pnl, uint32_t* scenario, int64_t length);
}

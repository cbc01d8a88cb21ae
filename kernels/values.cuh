// The headers of every operation of operations.def.
#ifndef UPM_VALUES_CUH
#define UPM_VALUES_CUH

#include "american.cuh"
#include "cash_dividends.cuh"
#include "european.cuh"

#endif

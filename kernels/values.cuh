// The headers of every UPM_OPERATION of operations.def.
#ifndef UPM_VALUES_CUH
#define UPM_VALUES_CUH

#include "double_barrier.cuh"
#include "european.cuh"
#include "forward_start.cuh"
#include "geometric_asian.cuh"
#include "heston_geometric_asian.cuh"
#include "heston_price.cuh"
#include "merton_price.cuh"
#include "single_barrier.cuh"
#include "two_asset.cuh"

#endif

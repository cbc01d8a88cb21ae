// Rows kept on all scenarios and the tails of what differs from them: the operations of upm_gpu/backend/kept.py.
#pragma once
#include "prepared.h"

namespace upm {

void kept_sums(const KeptFunctions& f, const UpmKept& kept, const uint32_t* scenario, int64_t length, int threads, double* out);
void kept_block(const KeptFunctions& f, const UpmKept& kept, int threads);
void changed_tails(const KeptFunctions& f, const UpmKept& kept, const UpmRowChanges& changes, int64_t depth, int threads, double* pnl, uint32_t* scenario);

}  // namespace upm

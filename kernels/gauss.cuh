// Gauss-Legendre rule of 16 points: exact for polynomials of degree 31. Nodes and weights solved in 40 digits.
#ifndef UPM_GAUSS_CUH
#define UPM_GAUSS_CUH

#include "platform.cuh"

namespace upm {

#define UPM_GAUSS_POINTS 16

// Point i in 0..15 of the rule on [low, low + width]; the weights sum to the width.
UPM_INLINE void gauss_point(int i, double low, double width, double* point, double* share) {
  const double node[8] = {0.09501250983763744, 0.2816035507792589, 0.45801677765722737, 0.6178762444026438,
      0.755404408355003, 0.8656312023878318, 0.9445750230732326, 0.9894009349916499};
  const double weight[8] = {0.1894506104550685, 0.18260341504492358, 0.16915651939500254, 0.14959598881657674,
      0.12462897125553388, 0.09515851168249279, 0.062253523938647894, 0.027152459411754096};
  const int at = i < 8 ? i : i - 8;
  *point = low + 0.5 * width * (1.0 + (i < 8 ? node[at] : -node[at]));
  *share = 0.5 * width * weight[at];
}

}  // namespace upm

#endif

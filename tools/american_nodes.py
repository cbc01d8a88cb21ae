"""Writes the node tables of kernels/american_nodes.cuh: python tools/american_nodes.py > kernels/american_nodes.cuh.

Chebyshev-Radau points of [0, 1] (1 is one of them, 0 is not) for the boundary, Gauss-Legendre in the angle for the integrals. Orders and
their reasons: docs/design/0055-american-options.md.
"""

from __future__ import annotations

import mpmath
import numpy as np

BOUNDARY, ANGLES, PRICE = 16, 12, 64


def legendre(order: int) -> list[tuple[mpmath.mpf, mpmath.mpf]]:
    """(node, weight) of Gauss-Legendre on [0, 1], 40 digits, ascending."""
    found = []
    for start in np.polynomial.legendre.leggauss(order)[0]:
        x = mpmath.mpf(float(start))
        for _ in range(4):
            before, at = mpmath.mpf(1), x
            for j in range(2, order + 1):
                before, at = at, ((2 * j - 1) * x * at - (j - 1) * before) / j
            slope = order * (x * at - before) / (x * x - 1)
            x -= at / slope
        found.append(((1 + x) / 2, 1 / ((1 - x * x) * slope**2)))
    return sorted(found)


def table(name: str, comment: str, values: list[mpmath.mpf]) -> str:
    """One constant array, four numbers a line."""
    cells = [repr(float(v)) for v in values]
    lines = [", ".join(cells[i:i + 4]) for i in range(0, len(cells), 4)]
    return f"// {comment}\nUPM_TABLE double {name}[{len(cells)}] = {{\n    " + ",\n    ".join(lines) + "};\n"


def main() -> None:
    """Print the header."""
    mpmath.mp.dps = 40
    half = mpmath.pi / 2
    nodes = [(1 + mpmath.cos(2 * mpmath.pi * i / (2 * BOUNDARY - 1))) / 2 for i in range(BOUNDARY)]
    angles = [(half * u, half * w) for u, w in legendre(ANGLES)]
    price = [(half * u * u, half * 2 * u * w) for u, w in legendre(PRICE)]
    print("// Written by tools/american_nodes.py, read by american.cuh: nodes and weights of the boundary and of the price integral.")
    print("#ifndef UPM_AMERICAN_NODES_CUH\n#define UPM_AMERICAN_NODES_CUH\n\n#include \"platform.cuh\"\n\nnamespace upm {\n")
    print(f"#define UPM_AMERICAN_BOUNDARY {BOUNDARY}  // points of the boundary in sqrt(time to expiry)")
    print(f"#define UPM_AMERICAN_ANGLES {ANGLES}    // points of each integral of the boundary equation")
    print(f"#define UPM_AMERICAN_PRICE {PRICE}     // points of the price integral\n")
    print(table("american_root", "sqrt(time to expiry / T) of the boundary's points, (1 + cos(2 pi i / (2 n - 1))) / 2.", nodes))
    print(table("american_sine", "sin of the angles: sqrt(elapsed / time to expiry).", [mpmath.sin(a) for a, _ in angles]))
    print(table("american_cosine", "cos of the angles: sqrt(remaining / time to expiry).", [mpmath.cos(a) for a, _ in angles]))
    print(table("american_weight", "Gauss-Legendre weights in the angle.", [w for _, w in angles]))
    print(table("american_price_sine", "The same for the price integral, angle = (pi / 2) u^2, points dense where little time has elapsed.",
                [mpmath.sin(a) for a, _ in price]))
    print(table("american_price_cosine", "cos.", [mpmath.cos(a) for a, _ in price]))
    print(table("american_price_weight", "Weights of dv, v = sin^2: 2 sin cos d(angle).", [w * 2 * mpmath.sin(a) * mpmath.cos(a) for a, w in price]))
    print("}  // namespace upm\n\n#endif")


if __name__ == "__main__":
    main()

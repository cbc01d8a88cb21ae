"""Prints the fitted coefficients of `kernels/elementary.cuh`, `normal.cuh` and `implied.cuh`, with their errors.

Each approximation interpolates at Chebyshev points (of a map of the half line for the rationals), which is within a small factor of the
best one; solved in 80 digits and rounded to double once. Run: python tools/fit_coefficients.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mpmath as mp

mp.mp.dps = 80
Function = Callable[[mp.mpf], mp.mpf]


def chebyshev(count: int) -> list[mp.mpf]:
    return [mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]


def on_half_line(scale: float, count: int) -> list[mp.mpf]:
    return [scale * (1 + t) / (1 - t) for t in chebyshev(count)]


def value(coefficients: Sequence[mp.mpf], x: mp.mpf) -> mp.mpf:
    return mp.polyval(list(coefficients)[::-1], x)


def polynomial(function: Function, points: Sequence[mp.mpf]) -> list[mp.mpf]:
    """Ascending coefficients of the interpolant."""
    a = mp.matrix(len(points), len(points))
    b = mp.matrix(len(points), 1)
    for i, x in enumerate(points):
        for j in range(len(points)):
            a[i, j] = x**j
        b[i] = function(x)
    return list(mp.lu_solve(a, b))


def rational(function: Function, points: Sequence[mp.mpf], over: int, under: int) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """Ascending coefficients of P and Q, Q(0) = 1, with P / Q = function at the points."""
    size = over + under + 1
    a, b = mp.matrix(size, size), mp.matrix(size, 1)
    for i, x in enumerate(points):
        f = function(x)
        for j in range(over + 1):
            a[i, j] = x**j
        for j in range(1, under + 1):
            a[i, over + j] = -f * x**j
        b[i] = f
    c = list(mp.lu_solve(a, b))
    return c[: over + 1], [mp.mpf(1), *c[over + 1 :]]


def mills(x: mp.mpf) -> mp.mpf:
    """(1 - Phi(x)) / phi(x)."""
    return mp.sqrt(mp.pi / 2) * mp.exp(x * x / 2) * mp.erfc(x / mp.sqrt(2)) if x < 60 else mp.hyp2f0(1, 0.5, -2 / (x * x)) / x


def show(name: str, coefficients: Sequence[mp.mpf]) -> None:
    print(f"  {name}: " + ", ".join(repr(float(c)) for c in coefficients))


def show_rational(name: str, function: Function, over: int, under: int, scale: float) -> None:
    p, q = rational(function, on_half_line(scale, over + under + 1), over, under)
    grid = [mp.mpf(0), *(x for x in on_half_line(scale, 400) if x < 1000)]
    error = max(abs(value(p, x) / value(q, x) / function(x) - 1) for x in grid)
    print(f"{name}: relative error {mp.nstr(error, 3)}, all coefficients positive: {all(c > 0 for c in p + q)}")
    show("over", p)
    show("under", q)


def main() -> None:
    half = mp.log(2) / 2
    c = polynomial(lambda r: (mp.exp(r) - 1 - r) / r**2, [half * (t if abs(t) > 1e-20 else mp.mpf(10) ** -30) for t in chebyshev(11)])
    print("(exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2")
    show("ascending", c)
    largest = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2

    def log_tail(z: mp.mpf) -> mp.mpf:
        s = mp.sqrt(z)
        return (mp.log((1 + s) / (1 - s)) - 2 * s) / (s * z)

    print("(ln((1 + s) / (1 - s)) - 2 s) / s^3 in s^2")
    show("ascending", polynomial(log_tail, [largest * (1 + t) / 2 for t in chebyshev(7)]))
    show_rational("Mills ratio R on [0, inf)", mills, 10, 11, 4.0)
    show_rational("1 - x R(x) on [0, inf)", lambda x: 1 - x * mills(x), 10, 12, 4.0)


if __name__ == "__main__":
    main()

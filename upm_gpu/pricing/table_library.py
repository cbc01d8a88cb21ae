"""Value tables that outlive a market: kept over a range of rates, carry and time, from which a run takes the tables of its own.

American options and barriers have no clock but their own: the price per unit of strike of a request is a function of

  x = ln(S / K),   s = sigma sqrt(T),   u = r T,   v = q T

and of its fixed terms (barrier over strike, payments, number of fixings), T the time left. An entry holds what the product is worth above Black's value on a lattice of (x, ln s) at a few
pairs (u, v), the extreme points of Chebyshev polynomials over a range of each. The table of a run is the polynomial through them at the run's own (u, v), node by node, plus the difference
between Black's value at those rates and at the discount factor and forward of the run, which is computed: a table over (ln(F / K), ln sigma) at shifted corners, read by the same kernels. Where the
spot is a future's (v = u) or nothing is paid out (v = 0) one axis is enough.

An entry serves every request of its terms whose range of the states, rates and time lies inside, whatever the underlying or expiry. Before a table is used it is compared with direct prices
at `GUARD_POINTS` places; where it errs by more than `GUARD`, or nothing covers it, the table is made as without a library.

Verified by `tests/properties/test_table_library.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.value_table import table_values
from upm_gpu.pricing.compiled import TableRequest, ValueTable
from upm_gpu.pricing.exotics import inside_range
from upm_gpu.pricing.tables import Box, direct_values, european_share

OWN_CLOCK = ("american", "single_barrier", "double_barrier")
"""operations without a time of their own beside that to expiry; dividends and fixings of averages have theirs"""
GUARD = 2e-5
"""per unit of strike: twice what a table made for the run may err by at the places it is looked at"""
GUARD_POINTS = 24
SAME = 1e-9
"""in r T and q T: rounding of a forward over a spot"""
FUTURE, NO_YIELD, ANY_YIELD = "future", "no_yield", "any"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scaled:
    """A request at time to expiry 1: fixed terms, and where in rates it lies."""

    terms: str
    """JSON of what an entry and a request must share"""
    kind: str
    """FUTURE (v = u), NO_YIELD (v = 0) or ANY_YIELD"""
    u: float
    v: float
    years: float
    log_basis: float
    """x less ln(F / K) of the request"""


@dataclass(frozen=True)
class Entry:
    """One product over its ranges."""

    name: str
    """of the first instrument it was made for"""
    terms: str
    kind: str
    u: tuple[float, ...]
    """anchors, ascending"""
    v: tuple[float, ...]
    """of the yield; empty where `kind` says what it is"""
    low: tuple[float, float]
    inverse_step: tuple[float, float]
    inside: tuple[float, float]
    """of x"""
    error: float
    """largest found while it was made, per unit of strike"""
    values: Array
    """(anchors of u, of v, nodes of x, nodes of ln s)"""


@dataclass(frozen=True)
class TableLibrary:
    """Entries, and the SHA-256 of the file they came from."""

    entries: tuple[Entry, ...]
    sha256: str

    def table_for(self, request: TableRequest, box: Box, backend: ModuleType) -> tuple[ValueTable, float] | None:
        """The table of a request over a box, with the largest error seen; None where no entry covers it or all that do err."""
        asked = scaled(request)
        if asked is None:
            return None
        for entry in self.entries:
            if entry.terms == asked.terms and entry.kind == asked.kind and (span := covers(entry, asked, box)):
                table = _collapsed(entry, asked, request, span)
                error = _seen_error(table, request, box, backend)
                if error <= GUARD:
                    return table, max(error, entry.error)
        return None


def scaled(request: TableRequest) -> Scaled | None:
    """A request at time 1; None for an operation with a clock of its own, and where nothing is left of its time."""
    inputs = dict(request.inputs)
    years = float(inputs.get("time_to_expiry", 0.0))  # type: ignore[arg-type]
    if request.operation not in OWN_CLOCK or not years > 0.0 or not request.alive:
        return None
    u, v = float(inputs["rate"]) * years, float(inputs["dividend_yield"]) * years  # type: ignore[arg-type]
    basis = math.log(request.spot_over_forward)
    fixed = {k: value for k, value in inputs.items() if k not in ("rate", "dividend_yield", "time_to_expiry")}
    terms = json.dumps([request.operation, request.sign, request.base, sorted(fixed.items())])  # where it lives and how a barrier on fixings is moved follow from them
    kind = FUTURE if abs(u - v) < SAME else NO_YIELD if abs(v) < SAME else ANY_YIELD
    return Scaled(terms, kind, u, v, years, basis)


def at_rates(request: TableRequest, u: float, v: float) -> TableRequest:
    """The request at time 1 and other rates; its "forward" is the spot."""
    asked = scaled(request)
    assert asked is not None
    fixed = tuple((k, value) for k, value in request.inputs if k not in ("rate", "dividend_yield", "time_to_expiry"))
    inside = (request.inside[0] + asked.log_basis, request.inside[1] + asked.log_basis)
    inputs = (("rate", u), ("dividend_yield", v), ("time_to_expiry", 1.0), *fixed)
    return replace(request, spot_over_forward=1.0, inputs=inputs, years=1.0, discount=math.exp(-u), growth=math.exp(u - v), inside=inside, shift=request.shift / math.sqrt(asked.years), unit=1.0)


def covers(entry: Entry, asked: Scaled, box: Box) -> tuple[slice, slice] | None:
    """The nodes of an entry that a box needs, one beyond either end where there is no barrier; None where they or the rates lie outside."""
    if not entry.u[0] - SAME <= asked.u <= entry.u[-1] + SAME or (entry.v and not entry.v[0] - SAME <= asked.v <= entry.v[-1] + SAME):
        return None
    spans = []
    shifts, edges = (asked.log_basis, 0.5 * math.log(asked.years)), (entry.inside, (-math.inf, math.inf))
    for axis, ((low, high), shift, (begin, end)) in enumerate(zip(box, shifts, edges, strict=True)):
        nodes = entry.values.shape[2 + axis]
        first, last = ((edge + shift - entry.low[axis]) * entry.inverse_step[axis] for edge in (max(low, begin - shift), min(high, end - shift)))
        i = 0 if math.isfinite(begin) else math.floor(first + 1e-9) - 1
        j = nodes - 1 if math.isfinite(end) else math.ceil(last - 1e-9) + 1
        if i < 0 or j > nodes - 1:
            return None
        while j - i < 3:
            i, j = max(i - 1, 0), min(j + 1, nodes - 1)
        spans.append(slice(i, j + 1))
    return spans[0], spans[1]


def weights(anchors: tuple[float, ...], at: float) -> Array:
    """(anchors,) of the polynomial through them."""
    return np.array([math.prod((at - b) / (a - b) for b in anchors if b != a) for a in anchors])


def _collapsed(entry: Entry, asked: Scaled, request: TableRequest, span: tuple[slice, slice]) -> ValueTable:
    """The entry at the rates of a request, over (ln(F / K), ln sigma)."""
    share = np.multiply.outer(weights(entry.u, asked.u), weights(entry.v, asked.v) if entry.v else np.ones(1))
    values = np.tensordot(share, entry.values[:, :, span[0], span[1]], 2)
    x = entry.low[0] + np.arange(entry.values.shape[2])[span[0]] / entry.inverse_step[0]
    y = entry.low[1] + np.arange(entry.values.shape[3])[span[1]] / entry.inverse_step[1]
    alike = at_rates(request, asked.u, asked.v)
    grid_x, grid_y = (a.ravel() for a in np.meshgrid(x, y, indexing="ij"))
    shift = 0.5 * math.log(asked.years)

    def share_of(one: TableRequest, m: Array, sigma: Array) -> Array:
        if np.isfinite(one.inside).any():
            m = inside_range(one, m) + one.shift * sigma
        return european_share(one, np.exp(m), m, sigma)

    values = request.unit * values + (request.unit * share_of(alike, grid_x, np.exp(grid_y)) - share_of(request, grid_x - asked.log_basis, np.exp(grid_y - shift))).reshape(values.shape)
    return ValueTable((float(x[0]) - asked.log_basis, float(y[0]) - shift), entry.inverse_step, np.ascontiguousarray(values))


def _seen_error(table: ValueTable, request: TableRequest, box: Box, backend: ModuleType) -> float:
    """Largest error at points spread over the box: an additive recurrence, the same for every table."""
    steps = np.arange(1, GUARD_POINTS + 1)[:, None] * np.array([0.7548776662466927, 0.5698402909980532]) % 1.0
    low, high = (np.array(edge) for edge in zip(*box, strict=True))
    low[0], high[0] = max(low[0], request.inside[0]), min(high[0], request.inside[1])
    m, y = (low + (high - low) * steps).T
    order = np.argsort(y, kind="stable")
    m, y = m[order], y[order]
    return float(np.max(np.abs(table_values(table.low, table.inverse_step, table.values, m, y) - direct_values(request, m, np.exp(y), backend))))


def library_bytes(entries: tuple[Entry, ...]) -> bytes:
    """The file of a library: `UPMLIBRARY1`, length of the header (uint32, little endian), a JSON header, then the values of each entry, little-endian float64."""
    header = json.dumps([{k: v for k, v in asdict(replace(e, values=np.zeros(0))).items() if k != "values"} | {"shape": e.values.shape, "inside": [None if math.isinf(x) else x for x in e.inside]}
                         for e in entries], sort_keys=True).encode("ascii")
    body = b"".join(np.ascontiguousarray(e.values, "<f8").tobytes() for e in entries)
    digest = hashlib.sha256(header + body).digest()
    return MAGIC + digest + len(header).to_bytes(4, "little") + header + body


MAGIC = b"UPMLIBRARY1\n"


def library_of(content: bytes) -> TableLibrary:
    """The library in the bytes of a file; ValueError says what is wrong with it. Nothing in it is executed."""
    start = len(MAGIC) + 36
    if content[: len(MAGIC)] != MAGIC or len(content) < start:
        raise ValueError("it is no library of value tables, or one of another version")
    length = int.from_bytes(content[start - 4 : start], "little")
    if hashlib.sha256(content[start:]).digest() != content[len(MAGIC) : len(MAGIC) + 32]:
        raise ValueError("it does not match its own checksum")
    entries, at = [], start + length
    for head in json.loads(content[start:at]):
        shape = tuple(int(n) for n in head["shape"])
        size = math.prod(shape)
        values = np.frombuffer(content, "<f8", size, at).astype(np.float64).reshape(shape)
        at += 8 * size
        low, high = head["inside"]
        entries.append(Entry(head["name"], head["terms"], head["kind"], tuple(head["u"]), tuple(head["v"]), tuple(head["low"]), tuple(head["inverse_step"]),
                             (-math.inf if low is None else low, math.inf if high is None else high), head["error"], values))
    return TableLibrary(tuple(entries), hashlib.sha256(content).hexdigest())


__all__ = ["ANY_YIELD", "FUTURE", "NO_YIELD", "Entry", "Scaled", "TableLibrary", "at_rates", "covers", "library_bytes", "library_of", "scaled", "weights"]

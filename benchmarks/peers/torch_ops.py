"""PyTorch on the CPU: randn, matmul, erf, a sparse CSR product (MKL) and topk."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.peers.problem import Estimate, Phases, Pipeline, Problem, chunks, estimate_of, tail_count

CHUNK = 2_048
MERGE = 16_384


def prepare(problem: Problem, kind: str, threads: int) -> Pipeline:
    torch.set_num_threads(threads)
    p, dtype = problem, torch.float32 if kind == "float32" else torch.float64

    def of(a: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(a)).to(dtype)

    loadings, centre = of(p.loadings), of(p.centre)[:, None]
    forward0, loading, strike, moneyness, volatility, root_years, sign, unit, price0 = (
        of(a)[:, None] for a in (p.forward, p.loading, p.strike, p.log_moneyness, p.volatility, p.root_years, p.sign, p.unit, p.price0))
    factor = sign * unit
    level_state, volatility_state, linear_state, group = (torch.from_numpy(a) for a in (p.level_state, p.volatility_state, p.linear_state, p.group))
    book = torch.sparse_csr_tensor(torch.from_numpy(p.first.astype(np.int32)), torch.from_numpy(p.column), of(p.quantity), (p.rows, p.columns))

    def ndtr(x: torch.Tensor) -> torch.Tensor:
        # twice as fast as torch.special.ndtr, which is not vectorised; good to 6e-8 absolute, as float32 is
        return x.mul_(0.5**0.5).erf_().add_(1.0).mul_(0.5)

    def price(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty((p.columns, x.shape[1]), dtype=dtype)
        torch.expm1(x[linear_state], out=out[: len(linear_state)])
        level = x[level_state]
        forward = level.exp().mul_(forward0)
        times = (x[volatility_state] * loading).exp_()
        stdev = times[group].mul_(volatility).clamp_(0.05, 5.0).mul_(root_years)
        d1 = level[group].add_(moneyness).div_(stdev).add_(stdev, alpha=0.5)
        d2 = (d1 - stdev).mul_(sign)
        d1.mul_(sign)
        value = ndtr(d1).mul_(forward[group]).sub_(ndtr(d2).mul_(strike)).mul_(factor)
        torch.sub(value, price0, out=out[len(linear_state) :])
        return out

    @torch.inference_mode()
    def run(seed: int, states: np.ndarray | None = None) -> Estimate:
        count = p.count if states is None else states.shape[1]
        keep, phases = tail_count(count), Phases()
        generator = torch.Generator().manual_seed(seed)
        worst = torch.empty((p.rows, 0), dtype=dtype)
        for begin, end in chunks(count, MERGE):
            pnl = torch.empty((p.rows, worst.shape[1] + end - begin), dtype=dtype)
            pnl[:, : worst.shape[1]] = worst
            at = worst.shape[1]
            for first, last in chunks(end - begin, CHUNK):
                if states is None:
                    x = torch.addmm(centre, loadings, torch.randn((len(loadings), last - first), generator=generator, dtype=dtype))
                else:
                    x = of(states[:, begin + first : begin + last])
                phases.to("simulate")
                columns = price(x)
                phases.to("price")
                pnl[:, at + first : at + last] = book @ columns
                phases.to("aggregate")
            worst = torch.topk(pnl, keep, dim=1, largest=False, sorted=False).values if pnl.shape[1] > keep else pnl
            phases.to("tail")
        return estimate_of(worst.numpy(), count, phases)

    return run

"""What a default would do: books closed in steps, the market moved for everybody, calls after calls, and who bears what is left.

    case = case_of_run("runs/quickstart")
    made = simulate(case, "BTC -40 %", load_parameters("venue"))

A guest of the house: the engine does not know it. docs/design/0096-liquidation.md.
"""

from upm_gpu.liquidation.cascade import cascade
from upm_gpu.liquidation.case import Case, case_of, case_of_run
from upm_gpu.liquidation.parameters import Parameters, load_parameters
from upm_gpu.liquidation.record import Cascade
from upm_gpu.liquidation.systemic import Simulation, along_the_tail, simulate, summary

__all__ = ["Cascade", "Case", "Parameters", "Simulation", "along_the_tail", "cascade", "case_of", "case_of_run", "load_parameters", "simulate", "summary"]

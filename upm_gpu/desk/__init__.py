"""What an account holder and a risk desk ask of a finished run: its scenarios stay resident, and an order is margined as a fresh run would.

A guest of the house: the engine does not know it. What-ifs stand here; `explain`, `hedging`, `outlook` and `calls` ask further questions of the same resident scenarios. docs/design/0090-resident-desk.md.
"""

from upm_gpu.desk.answers import Answer
from upm_gpu.desk.change import Change, Deposit, Order, Transfer
from upm_gpu.desk.explain.why import Holding, Part, Why, why
from upm_gpu.desk.fills import WorstFill, worst_fill
from upm_gpu.desk.hedging.hedge import Reduction, reduce
from upm_gpu.desk.hedging.hedge_desk import Goal
from upm_gpu.desk.keeping import keep
from upm_gpu.desk.moved import Moved, under_market
from upm_gpu.desk.opening import open_run
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.whatif import book_after, whatif

__all__ = ["Answer", "Change", "Deposit", "Goal", "Holding", "Moved", "Order", "Part", "Reduction", "Resident", "Transfer", "Why", "WorstFill",
           "book_after", "keep", "open_run", "reduce", "under_market", "whatif", "why", "worst_fill"]

"""Selection bias in the results of a sweep, and its correction, by simulation without training networks.

Each row is a design with two procedures. The former one takes the row with the best mean validation, its t interval
over repetitions, and Wilcoxon's test where folds allow it. The current one has nested selection, and the variance over
clips and repetitions. Bias and width are in points of accuracy; coverage is that of 95 % intervals; false is the
fraction of sweeps in which any row is declared different from the first one (family-wise type I error at 0.05, with
Holm's correction).

In ``drawn`` sweeps, the correctness of every clip and candidate is drawn. In ``fitted`` ones, logistic regressions are
fitted to generated features, so that training sets overlap. See tests/helpers/simulated_sweeps.py.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))

from simulated_sweeps import Outcome, Plan, Swept, best_mean, drawn, fitted, merged, nested

DRAWN = {
    "200 clips, 20 rows, 5 folds": Plan("folds", 5, 20),
    "200 clips, 50 rows, 5 folds": Plan("folds", 5, 50),
    "800 clips, 20 rows, 5 folds": Plan("folds", 5, 20, clips=800),
    "200 clips, 20 rows, 3 folds": Plan("folds", 3, 20),
    "200 clips, 20 rows, 10 folds": Plan("folds", 10, 20),
    "200 clips, 2 rows, 10 folds": Plan("folds", 10, 2),
    "200 clips, 20 rows, 2 redrawn splits": Plan("splits", 2, 20),
    "200 clips, 20 rows, 5 redrawn splits": Plan("splits", 5, 20),
    "200 clips, 20 rows, one fixed split": Plan("fixed", 1, 20),
    "200 clips, 20 rows, 3 seeds of a split": Plan("fixed", 3, 20),
}
FITTED = {
    "200 clips, 8 rows, 3 folds": Plan("folds", 3, 8),
    "200 clips, 8 rows, 5 folds": Plan("folds", 5, 8),
    "200 clips, 8 rows, 5 folds, 3 seeds": Plan("folds", 5, 8, seeds=3),
    "200 clips, 8 rows, 10 folds": Plan("folds", 10, 8),
    "200 clips, 2 rows, 10 folds": Plan("folds", 10, 2),
    "200 clips, 8 rows, 2 redrawn splits": Plan("splits", 2, 8),
    "200 clips, 8 rows, 5 redrawn splits": Plan("splits", 5, 8),
    "200 clips, 8 rows, one fixed split": Plan("fixed", 1, 8),
    "200 clips, 8 rows, 3 seeds of a split": Plan("fixed", 3, 8),
}
LOT = 50
"""Number of sweeps in memory at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=500, help="number of simulated sweeps of a row")
    lots = max(1, parser.parse_args().sweeps // LOT)
    print(f"{lots * LOT} sweeps a line. Before -> after.")
    print(f"{'design':<46}{'bias':>16}{'coverage':>16}{'width':>16}{'false':>16}")
    for name, plan in DRAWN.items():
        noise = 0.3 if plan.design == "fixed" and plan.repetitions > 1 else 0.0
        _print("drawn", name, merged([drawn(plan, LOT, seed, noise=noise) for seed in range(lots)]))
    for name, plan in FITTED.items():
        _print("fitted", name, merged([fitted(plan, LOT, seed) for seed in range(lots)]))


def _print(kind: str, name: str, swept: Swept) -> None:
    before, after = best_mean(swept), nested(swept)
    columns = (
        (f"{before.bias:+.1f}", f"{after.bias:+.1f}"),
        (_coverage(before), _coverage(after)),
        (f"{before.width:.1f}", f"{after.width:.1f}"),
        (f"{before.false:.3f}", f"{after.false:.3f}"),
    )
    print(f"{kind + ': ' + name:<46}" + "".join(f"{' -> '.join(pair):>16}" for pair in columns), flush=True)


def _coverage(found: Outcome) -> str:
    return f"{100 * found.coverage:.0f} %" if found.width == found.width else "none"


if __name__ == "__main__":
    main()

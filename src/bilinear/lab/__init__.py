"""Measurements of a fitted model: is it linear, convex, at a minimum, at the optimum, does it generalise?

```python
import bilinear
from bilinear import lab

print(lab.report(model, ratings))                        # the verdict first
found = lab.certify(ratings, penalty=lab.L2(1.0, 0.8))   # a provably optimal factorisation
lab.save_proof(found, "proof")
print(lab.verify("proof", ratings))                      # from the ratings alone
print(lab.race(ratings, lab.race_methods("sgd", "adam+one-cycle"), n_seeds=10))
```

Each file beside this one is an instrument: one question of the report. A file that is added, or a class
of your own with `@lab.register`, is in every report, see `Instrument`.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from bilinear.lab.convexity import ConvexBand as ConvexBand
from bilinear.lab.convexity import Convexity as Convexity
from bilinear.lab.convexity import LossConvexity as LossConvexity
from bilinear.lab.convexity import PlaneSlice as PlaneSlice
from bilinear.lab.convexity import convex_band as convex_band
from bilinear.lab.convexity import convex_share as convex_share
from bilinear.lab.convexity import factor_slice as factor_slice
from bilinear.lab.convexity import measure_convexity as measure_convexity
from bilinear.lab.convexity import plane_slice as plane_slice
from bilinear.lab.endpoint import Endpoint as Endpoint
from bilinear.lab.endpoint import Escape as Escape
from bilinear.lab.endpoint import TrainingEndpoint as TrainingEndpoint
from bilinear.lab.endpoint import diagnose_endpoint as diagnose_endpoint
from bilinear.lab.features import FeatureControl as FeatureControl
from bilinear.lab.features import FeatureInformation as FeatureInformation
from bilinear.lab.features import feature_control as feature_control
from bilinear.lab.generalisation import Generalisation as Generalisation
from bilinear.lab.linearity import Linearity as Linearity
from bilinear.lab.linearity import ScoreLinearity as ScoreLinearity
from bilinear.lab.linearity import interaction_share as interaction_share
from bilinear.lab.linearity import measure_linearity as measure_linearity
from bilinear.lab.linearity import one_hot_differences as one_hot_differences
from bilinear.lab.numerics.curvature import Curvature as Curvature
from bilinear.lab.numerics.curvature import balanced as balanced
from bilinear.lab.numerics.curvature import imbalance as imbalance
from bilinear.lab.numerics.curvature import relative_gradient as relative_gradient
from bilinear.lab.numerics.curvature import smallest_curvature as smallest_curvature
from bilinear.lab.numerics.hessian import Hessian as Hessian
from bilinear.lab.numerics.hessian import hessian_vector_product as hessian_vector_product
from bilinear.lab.numerics.polish import Polished as Polished
from bilinear.lab.numerics.polish import polish as polish
from bilinear.lab.numerics.problem import Problem as Problem
from bilinear.lab.numerics.summaries import effective_rank as effective_rank
from bilinear.lab.numerics.summaries import table_share as table_share
from bilinear.lab.numerics.symmetries import Symmetries as Symmetries
from bilinear.lab.optimality import OptimalityGap as OptimalityGap
from bilinear.lab.proofs.certificate import Certificate as Certificate
from bilinear.lab.proofs.certificate import add_factor as add_factor
from bilinear.lab.proofs.certificate import certificate_at as certificate_at
from bilinear.lab.proofs.certificate import certificate_of as certificate_of
from bilinear.lab.proofs.certificate import certificate_refusal as certificate_refusal
from bilinear.lab.proofs.certificate import lower_bound as lower_bound
from bilinear.lab.proofs.certify import Certified as Certified
from bilinear.lab.proofs.certify import Round as Round
from bilinear.lab.proofs.certify import certify as certify
from bilinear.lab.proofs.proof import Proof as Proof
from bilinear.lab.proofs.proof import Verification as Verification
from bilinear.lab.proofs.proof import load_proof as load_proof
from bilinear.lab.proofs.proof import save_proof as save_proof
from bilinear.lab.proofs.proof import verify as verify
from bilinear.lab.races.methods import race_methods as race_methods
from bilinear.lab.races.paired_differences import Difference as Difference
from bilinear.lab.races.race import MethodResult as MethodResult
from bilinear.lab.races.race import Race as Race
from bilinear.lab.races.race import RateTrial as RateTrial
from bilinear.lab.races.race import RunResult as RunResult
from bilinear.lab.races.race import race as race
from bilinear.lab.reporting.context import Context as Context
from bilinear.lab.reporting.context import objective_mismatch as objective_mismatch
from bilinear.lab.reporting.instrument import Instrument as Instrument
from bilinear.lab.reporting.instrument import instruments as instruments
from bilinear.lab.reporting.instrument import register as register
from bilinear.lab.reporting.report import LabReport as LabReport
from bilinear.lab.reporting.report import report as report
from bilinear.lab.reporting.section import Section as Section
from bilinear.lab.retraining.contrast import Contrast as Contrast
from bilinear.lab.retraining.contrast import ContrastedModel as ContrastedModel
from bilinear.lab.retraining.contrast import contrast as contrast
from bilinear.lab.retraining.held_out_study import ErrorPoint as ErrorPoint
from bilinear.lab.retraining.held_out_study import HeldOutStudy as HeldOutStudy
from bilinear.lab.retraining.held_out_study import held_out_study as held_out_study
from bilinear.lab.retraining.penalty_curve import PenaltyCurve as PenaltyCurve
from bilinear.lab.retraining.penalty_curve import PenaltyPoint as PenaltyPoint
from bilinear.lab.retraining.penalty_curve import factor_curve as factor_curve
from bilinear.lab.retraining.penalty_curve import l2_curve as l2_curve
from bilinear.lab.retraining.permuted_control import PermutedControl as PermutedControl
from bilinear.lab.retraining.permuted_control import permuted_control as permuted_control
from bilinear.lab.seeds import RunPair as RunPair
from bilinear.lab.seeds import SeedAgreement as SeedAgreement
from bilinear.lab.seeds import SeedComparison as SeedComparison
from bilinear.lab.seeds import aligned as aligned
from bilinear.lab.seeds import barrier as barrier
from bilinear.lab.seeds import compare_seeds as compare_seeds
from bilinear.lab.seeds import run_seeds as run_seeds
from bilinear.objective.penalties import L2 as L2

for _module in iter_modules(__path__):  # a new instrument registers itself
    import_module(f"{__name__}.{_module.name}")


def public_names() -> list[str]:
    """The names of `bilinear.lab` that users may rely on, sorted: what `dir` and the reference show.

    Examples:
        >>> from bilinear import lab
        >>> "report" in lab.public_names(), "numerics" in lab.public_names()
        (True, False)
    """
    return sorted(
        name
        for name, value in globals().items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and value not in _HELPERS
    )


def __dir__() -> list[str]:
    return public_names()


_HELPERS: tuple[Any, ...] = (import_module, iter_modules, ModuleType, Any)

"""Instruments for a fitted model: is it linear, convex, at a minimum, the best there is, of any use?

```python
import bilinear
from bilinear import lab

print(lab.report(model, ratings))                        # the verdict first
found = lab.certify(ratings, penalty=lab.L2(1.0, 0.8))   # a provably optimal factorisation
lab.save_proof(found, "proof")
print(lab.verify("proof", ratings))                      # from the ratings alone
print(lab.race(ratings, lab.racers("sgd", "adam+one-cycle"), n_seeds=10))
```
"""

from bilinear.lab.proofs.certificate import Certificate as Certificate
from bilinear.lab.proofs.certificate import certificate as certificate
from bilinear.lab.proofs.certificate import certificate_of as certificate_of
from bilinear.lab.proofs.certify import Certified as Certified
from bilinear.lab.proofs.certify import certify as certify
from bilinear.lab.convexity import Convexity as Convexity
from bilinear.lab.convexity import convexity as convexity
from bilinear.lab.generalisation import l2_curve as l2_curve
from bilinear.lab.generalisation import permuted_control as permuted_control
from bilinear.lab.retraining.held_out_study import Study as Study
from bilinear.lab.retraining.held_out_study import study as study
from bilinear.lab.linearity import Linearity as Linearity
from bilinear.lab.linearity import linearity as linearity
from bilinear.lab.numerics.problem import Problem as Problem
from bilinear.lab.proofs.proof import Verification as Verification
from bilinear.lab.proofs.proof import load_proof as load_proof
from bilinear.lab.proofs.proof import save_proof as save_proof
from bilinear.lab.proofs.proof import verify as verify
from bilinear.lab.races.race import racers as racers
from bilinear.lab.races.race import Race as Race
from bilinear.lab.races.race import race as race
from bilinear.lab.reporting.report import LabReport as LabReport
from bilinear.lab.reporting.report import report as report
from bilinear.lab.seeds import compare_seeds as compare_seeds
from bilinear.lab.seeds import run_seeds as run_seeds
from bilinear.lab.endpoint import Endpoint as Endpoint
from bilinear.lab.endpoint import diagnose_endpoint as diagnose_endpoint
from bilinear.objective.penalties import L2 as L2

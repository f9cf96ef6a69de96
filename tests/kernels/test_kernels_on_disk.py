"""The process that compiles a kernel and those that load it later compute the same bits."""

from __future__ import annotations

import os
import subprocess
import sys

FIT = """
import hashlib
import bilinear
table = bilinear.synthetic_ratings(120, 60, 2500, 3, noise=0.3, rng=1)
numbers = {"n_factors": 8, "l2": 0.2, "l2_biases": 0.2, "validation_fraction": 0, "rng": 0}

def factorization(solver):
    return bilinear.MatrixFactorization(**numbers, solver=solver)

models = {
    "sgd": lambda: factorization(bilinear.SGD(n_epochs=3)),
    "adam": lambda: factorization(bilinear.MiniBatch(bilinear.Adam(), n_epochs=3)),
    "als": lambda: factorization(bilinear.ALS(n_epochs=3)),
    "implicit": lambda: bilinear.ImplicitALS(n_factors=8, n_epochs=3, rng=0),
    "conjugate gradients": lambda: bilinear.ImplicitALS(
        n_factors=8, n_epochs=3, rng=0, solver=bilinear.ConjugateGradient()
    ),
    "bpr": lambda: bilinear.RankingFactorization(n_factors=8, rng=0),
}
for name, model in models.items():
    digest = hashlib.sha256()
    for array in model().fit(table).dot_product().arrays().values():
        digest.update(array.tobytes())
    print(name, digest.hexdigest())
"""


def test_the_bits_do_not_depend_on_who_compiled(tmp_path):
    """Nor on what was compiled before it: `als` and `implicit` share kernels."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    compiled, loaded = (
        subprocess.run(
            [sys.executable, "-c", FIT], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )
    assert any(tmp_path.rglob("*.nbc"))
    assert compiled == loaded
    assert compiled.count("\n") == 6

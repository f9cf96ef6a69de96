"""The proof file of a certified optimum, and its verification from the ratings.

A proof is the weights in float64. With the ratings, anyone can recompute the objective and, from
the loss gradient at these weights, a lower bound for every model: where the two are equal, the
weights are optimal, however they were found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import ModelFileError
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.numerics.spectral import spectral_norm_by_gram, top_singular
from bilinear.lab.proofs.certificate import CERTIFIED_GAP, certificate_refusal, lower_bound
from bilinear.lab.proofs.certify import Certified
from bilinear.model.link import Identity, Link, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.tabular import Shown

KIND = "bilinear-proof"
_LOSSES: dict[str, type[Loss]] = {cls.__name__: cls for cls in (SquaredError, CrossEntropy)}
_LINKS: dict[str, type[Link]] = {cls.__name__: cls for cls in (Identity, Sigmoid)}
_CLOSE = 1e-9  # relative difference allowed between the recomputed and the stated objective


@dataclass(frozen=True)
class Verification(Shown):
    """The statements of a proof compared with the ratings.

    Attributes:
        loss_stated: The objective in the file.
        loss: The objective, recomputed.
        lower_bound_stated: The lower bound in the file.
        lower_bound: The lower bound, recomputed.
        relative_gap: Recomputed; this is proved.
        ratio: Recomputed spectral norm over L2.
        norm_by: How the spectral norm was recomputed.
        faults: Statements that do not hold; empty for a valid proof.
        objective: Loss, link and penalty of the proof.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> lab.save_proof(found, "proof")
        >>> checked = lab.verify("proof", found.objective.interactions)
        >>> checked.faults, checked.relative_gap <= 1e-6
        ((), True)
    """

    loss_stated: float
    loss: float
    lower_bound_stated: float
    lower_bound: float
    relative_gap: float
    ratio: float
    norm_by: str
    faults: tuple[str, ...]
    objective: str = ""

    @property
    def valid(self) -> bool:
        """Whether every statement holds."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return vars(self) | {"faults": list(self.faults), "valid": self.valid}

    def __str__(self) -> str:
        if not self.valid:
            return "the proof does not hold: " + "; ".join(self.faults)
        return (
            f"the proof holds: objective {self.loss:.10g}, no model of this kind is below "
            f"{self.lower_bound:.10g} (relative gap {self.relative_gap:.2g}). Its kind: {self.objective}"
        )


@dataclass(frozen=True, eq=False)
class Proof:
    """The contents of a proof file.

    Attributes:
        parameters: The weights, float64.
        loss: Of the objective.
        link: Of the objective.
        penalty: Of the objective.
        user_vocabulary: Ids of the user rows.
        item_vocabulary: Ids of the item rows.
        ratings_sha256: Fingerprint of the ratings.
        claims: The statements, as JSON values.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> lab.save_proof(found, "proof")
        >>> proof = lab.load_proof("proof")
        >>> proof.loss, len(proof.user_vocabulary)
        (SquaredError(), 20)
    """

    parameters: Parameters
    loss: Loss
    link: Link
    penalty: L2
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    ratings_sha256: str
    claims: dict[str, Any]


def save_proof(certified: Certified, path: str | Path) -> None:
    """Writes a proof as a folder of JSON and tensors, whole or not at all.

    Args:
        certified: The result of `certify`.
        path: The folder; an older proof there is replaced.

    Raises:
        ModelFileError: Something that is not a proof or model is at `path`.
        OSError: The folder cannot be written.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> lab.save_proof(found, "proof")
        >>> lab.verify("proof", found.objective.interactions).valid
        True
    """
    parameters, objective = certified.parameters, certified.objective
    table = objective.interactions
    tensors: dict[str, NDArray[Any]] = dict(parameters.arrays())
    for side, vocabulary in (("users", table.user_vocabulary), ("items", table.item_vocabulary)):
        tensors |= {f"{side}.{name}": array for name, array in vocabulary.tensors().items()}
    manifest = {
        "kind": KIND,
        "loss": type(objective.loss).__name__,
        "link": {"type": type(objective.link).__name__, "bounds": list(objective.link.bounds)},
        "penalty": {name: float(value) for name, value in vars(objective.penalty).items()},
        "global_mean": parameters.global_mean,
        "n_ratings": table.n_ratings,
        "ratings_sha256": _fingerprint(table),
        "source": table.source,
        "claims": certified.to_dict(),
    }
    write_artifact(Path(path), manifest, tensors)


def load_proof(path: str | Path) -> Proof:
    """Reads a proof folder.

    Args:
        path: The folder that `save_proof` wrote.

    Returns:
        Its contents, checked for shape and finite weights.

    Raises:
        ModelFileError: It is not a proof, or it is damaged.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> found = lab.certify(synthetic_ratings(20, 15, 150, rng=0), penalty=lab.L2(1.0, 1.0))
        >>> lab.save_proof(found, "proof")
        >>> lab.load_proof("proof").penalty
        L2(factors=1.0, biases=1.0, exponent=0.5)
    """
    artifact = read_artifact(Path(path))
    manifest, tensors = artifact.manifest, artifact.tensors
    if manifest.get("kind") != KIND:
        raise ModelFileError(
            f"{path}: expected a proof, got a model; give the proof folder that `certify` made"
        )
    try:
        users, items = (
            _vocabulary({name[6:]: array for name, array in tensors.items() if name.startswith(f"{side}.")})
            for side in ("users", "items")
        )
        parameters = Parameters(
            float(manifest["global_mean"]),
            *(
                np.asarray(tensors[name], np.float64)
                for name in ("user_biases", "item_biases", "user_factors", "item_factors")
            ),
        )
        shapes = [array.shape for array in parameters.arrays().values()]
        m, n, k = len(users), len(items), parameters.n_factors
        if shapes != [(m,), (n,), (m, k), (n, k)]:
            raise ValueError(f"shapes {shapes} for {m} users and {n} items")  # noqa: TRY301
        finite = all(np.isfinite(array).all() for array in parameters.arrays().values())
        if not (finite and np.isfinite(parameters.global_mean)):
            raise ValueError("weights that are not finite")  # noqa: TRY301
        link = _LINKS[manifest["link"]["type"]]().with_range(*manifest["link"]["bounds"])
        loss = _LOSSES[manifest["loss"]]()
        loss.check(link)
        penalty = L2(**manifest["penalty"])
        claims = dict(manifest["claims"])
        for name in ("loss", "lower_bound"):
            float(claims["certificate"][name])
        fingerprint = str(manifest["ratings_sha256"])
        return Proof(parameters, loss, link, penalty, users, items, fingerprint, claims)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelFileError(
            f"{path}: expected model.json and tensors of a proof, got {type(error).__name__}: {error}; "
            "certify again"
        ) from error


def verify(proof: Proof | str | Path, interactions: Interactions, *, rng: int = 1) -> Verification:
    """Recomputes objective, loss gradient, its spectral norm and the lower bound from the ratings.

    The norm comes from all eigenvalues of a Gram matrix where the smaller side has at most 3,000
    rows (it cannot miss a value), else from Lanczos with another start. Cost:
    O(n_ratings * n_factors), and O(side^3) for the Gram matrix.

    Args:
        proof: A proof, or the path of its folder.
        interactions: The ratings it was made for.
        rng: Seed of the start vector of Lanczos.

    Returns:
        Recomputed numbers and every statement that does not hold.

    Raises:
        ModelFileError: The folder is not a proof, or it is damaged.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from bilinear import lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.certify(ratings, penalty=lab.L2(1.0, 1.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lab.save_proof(found, Path(folder) / "proof")
        ...     lab.verify(Path(folder) / "proof", ratings).valid
        True
    """
    proof = proof if isinstance(proof, Proof) else load_proof(proof)
    claims = proof.claims["certificate"]
    stated = float(claims["loss"]), float(claims["lower_bound"])
    said = f"{type(proof.loss).__name__} after {type(proof.link).__name__}, {proof.penalty}"
    faults: list[str] = []
    users, items = interactions.aligned_to(proof.user_vocabulary, proof.item_vocabulary)
    if not interactions.n_ratings or (users < 0).any() or (items < 0).any():
        faults.append("it is for other ratings: some users or items of these are not in it")
        nan = float("nan")
        return Verification(stated[0], nan, stated[1], nan, nan, nan, "nothing", tuple(faults), said)
    table = Interactions.from_rows(
        users, items, interactions.ratings, None, proof.user_vocabulary, proof.item_vocabulary
    )
    if _fingerprint(table) != proof.ratings_sha256:
        faults.append("the ratings are not those it was made for")
    mean = proof.link.score(float(table.ratings.mean(dtype=np.float64)))
    if abs(mean - proof.parameters.global_mean) > _CLOSE * max(abs(mean), 1):
        faults.append(
            f"its global mean {proof.parameters.global_mean:g} is not the score {mean:g} of the mean rating"
        )
    problem = Problem.of(
        Objective(proof.loss, proof.link, proof.penalty, table), proof.parameters.global_mean
    )
    reason = certificate_refusal(problem, 1)
    if reason:
        faults.append(f"nothing can be proved: {reason}")
    scores = _scores(proof.parameters, table)
    value = _objective(proof, table, scores)
    loss_gradient = problem.loss_gradient(scores)
    matrix = problem.matrix(loss_gradient)
    norm, norm_by = spectral_norm_by_gram(matrix), "all eigenvalues of the Gram matrix"
    if norm is None:
        norm, norm_by = top_singular(matrix, rng=rng).bound, "Lanczos"
    bound = lower_bound(problem, loss_gradient, spectral_norm=norm, rng=rng) if not reason else float("nan")
    gap = max(value - bound, 0.0) / abs(value) if value else 0.0
    if abs(value - stated[0]) > _CLOSE * abs(value):
        faults.append(f"the objective is {value:.10g}, not {stated[0]:.10g} as stated")
    if not gap <= CERTIFIED_GAP:
        faults.append(f"the relative gap is {gap:.3g}, more than {CERTIFIED_GAP:g}")
    ratio = norm / problem.l2 if problem.l2 > 0 else np.inf
    return Verification(stated[0], value, stated[1], bound, gap, ratio, norm_by, tuple(faults), said)


def _scores(parameters: Parameters, table: Interactions) -> Vector:
    """Scores in plain NumPy, by blocks; shares no code with the search."""
    out = np.empty(table.n_ratings)
    for start in range(0, table.n_ratings, 1 << 14):
        rows = slice(start, start + (1 << 14))
        u, i = table.users[rows], table.items[rows]
        out[rows] = (parameters.user_factors[u] * parameters.item_factors[i]).sum(axis=1)
        out[rows] += parameters.global_mean + parameters.user_biases[u] + parameters.item_biases[i]
    return out


def _objective(proof: Proof, table: Interactions, scores: Vector) -> float:
    """The objective in plain NumPy and float64; rows without ratings are penalised as any other."""
    losses = proof.loss.value(scores, table.ratings.astype(np.float64), proof.link)
    counts = [
        np.bincount(rows, minlength=n)
        for rows, n in zip((table.users, table.items), table.shape, strict=True)
    ]
    return float(np.sum(losses)) + proof.penalty.value(proof.parameters, *counts)


def _fingerprint(table: Interactions) -> str:
    """SHA-256 of all ratings by id, in the order of the vocabularies."""
    digest = hashlib.sha256()
    for vocabulary, rows in ((table.user_vocabulary, table.users), (table.item_vocabulary, table.items)):
        used, codes = np.unique(rows, return_inverse=True)
        for id_ in vocabulary.decode(used).tolist():
            digest.update(repr(id_).encode(errors="surrogatepass") + b"\n")
        digest.update(codes.astype("<i8").tobytes())
    digest.update(table.ratings.astype("<f4").tobytes())
    return digest.hexdigest()


def _vocabulary(tensors: Mapping[str, NDArray[Any]]) -> Vocabulary:
    vocabulary = Vocabulary.from_tensors(tensors)
    fault = vocabulary.fault()
    if fault:
        raise ValueError(fault)
    return vocabulary

"""bilinear: collaborative filtering with the dot-product model.

```python
import bilinear

ratings = bilinear.read_ratings("ratings.csv")
model = bilinear.MatrixFactorization(rng=0).fit(ratings)
model.recommend(42)
```

The public names load on first use, so that `import bilinear` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bilinear.version import __version__ as __version__

if TYPE_CHECKING:
    from bilinear.data.datasets import fetch as fetch
    from bilinear.data.interactions import Interactions as Interactions
    from bilinear.data.items import Items as Items
    from bilinear.data.items import read_items as read_items
    from bilinear.data.readers import Pairs as Pairs
    from bilinear.data.readers import read_interactions as read_interactions
    from bilinear.data.readers import read_item_ratings as read_item_ratings
    from bilinear.data.readers import read_pairs as read_pairs
    from bilinear.data.readers import read_ratings as read_ratings
    from bilinear.data.readers import read_sql as read_sql
    from bilinear.data.splits import split_file as split_file
    from bilinear.data.splits import split_leave_last_out as split_leave_last_out
    from bilinear.data.splits import split_per_user as split_per_user
    from bilinear.data.splits import split_random as split_random
    from bilinear.data.splits import split_temporal as split_temporal
    from bilinear.data.splits import split_users as split_users
    from bilinear.data.synthetic import synthetic_catalogue as synthetic_catalogue
    from bilinear.data.synthetic import synthetic_ratings as synthetic_ratings
    from bilinear.data.vocabulary import Vocabulary as Vocabulary
    from bilinear.estimators.auto.auto_ranker import AutoRanker as AutoRanker
    from bilinear.estimators.auto.optuna_search import search_with_optuna as search_with_optuna
    from bilinear.estimators.baselines import BiasModel as BiasModel
    from bilinear.estimators.baselines import GlobalMean as GlobalMean
    from bilinear.estimators.blend import Blend as Blend
    from bilinear.estimators.ease import EASE as EASE
    from bilinear.estimators.ease import SparseEASE as SparseEASE
    from bilinear.estimators.graph_filter import GraphFilter as GraphFilter
    from bilinear.estimators.implicit_als import ImplicitALS as ImplicitALS
    from bilinear.estimators.item_knn import ItemKNN as ItemKNN
    from bilinear.estimators.matrix_factorization import MatrixFactorization as MatrixFactorization
    from bilinear.estimators.measurement import measure as measure
    from bilinear.estimators.popularity import Popularity as Popularity
    from bilinear.estimators.random_walk import RandomWalk as RandomWalk
    from bilinear.estimators.ranking_factorization import RankingFactorization as RankingFactorization
    from bilinear.estimators.recipes import fastai_recipe as fastai_recipe
    from bilinear.evaluation.compare import compare as compare
    from bilinear.evaluation.compare_ratings import compare_ratings as compare_ratings
    from bilinear.evaluation.ranking import RankingProtocol as RankingProtocol
    from bilinear.evaluation.ranking import evaluate_ranking as evaluate_ranking
    from bilinear.inspection import inspect as inspect
    from bilinear.inspection import item_map as item_map
    from bilinear.model.link import Identity as Identity
    from bilinear.model.link import Sigmoid as Sigmoid
    from bilinear.objective.losses import CrossEntropy as CrossEntropy
    from bilinear.objective.losses import SquaredError as SquaredError
    from bilinear.objective.ranking_losses import BPR as BPR
    from bilinear.objective.ranking_losses import WARP as WARP
    from bilinear.objective.ranking_losses import CosineContrastive as CosineContrastive
    from bilinear.objective.ranking_losses import SampledSoftmax as SampledSoftmax
    from bilinear.persistence.models import load as load
    from bilinear.recommend.everyone import recommend_everyone as recommend_everyone
    from bilinear.recommend.everyone import similar_everyone as similar_everyone
    from bilinear.recommend.parquet import write_everyone as write_everyone
    from bilinear.recommend.parquet import write_similar as write_similar
    from bilinear.registry import register as register
    from bilinear.training.als import ALS as ALS
    from bilinear.training.checkpoint import Checkpoint as Checkpoint
    from bilinear.training.implicit_als import Blocks as Blocks
    from bilinear.training.implicit_als import Cholesky as Cholesky
    from bilinear.training.implicit_als import ConjugateGradient as ConjugateGradient
    from bilinear.training.lr_find import lr_find as lr_find
    from bilinear.training.minibatch import MiniBatch as MiniBatch
    from bilinear.training.optimizers import LAMB as LAMB
    from bilinear.training.optimizers import LARS as LARS
    from bilinear.training.optimizers import AdaGrad as AdaGrad
    from bilinear.training.optimizers import Adam as Adam
    from bilinear.training.optimizers import AdamW as AdamW
    from bilinear.training.optimizers import Averaged as Averaged
    from bilinear.training.optimizers import Lookahead as Lookahead
    from bilinear.training.optimizers import Momentum as Momentum
    from bilinear.training.optimizers import Nesterov as Nesterov
    from bilinear.training.optimizers import Plain as Plain
    from bilinear.training.optimizers import RAdam as RAdam
    from bilinear.training.optimizers import RMSProp as RMSProp
    from bilinear.training.optimizers import RowAdaGrad as RowAdaGrad
    from bilinear.training.optimizers import RunningMean as RunningMean
    from bilinear.training.optimizers import WeightDecay as WeightDecay
    from bilinear.training.schedules import Constant as Constant
    from bilinear.training.schedules import Cosine as Cosine
    from bilinear.training.schedules import Exponential as Exponential
    from bilinear.training.schedules import Falling as Falling
    from bilinear.training.schedules import FlatCosine as FlatCosine
    from bilinear.training.schedules import Linear as Linear
    from bilinear.training.schedules import OneCycle as OneCycle
    from bilinear.training.schedules import Phases as Phases
    from bilinear.training.schedules import Polynomial as Polynomial
    from bilinear.training.schedules import Product as Product
    from bilinear.training.schedules import ReduceOnPlateau as ReduceOnPlateau
    from bilinear.training.schedules import Step as Step
    from bilinear.training.schedules import WarmRestarts as WarmRestarts
    from bilinear.training.schedules import WarmUp as WarmUp
    from bilinear.training.sgd import SGD as SGD
    from bilinear.training.similarities import BM25 as BM25
    from bilinear.training.similarities import TFIDF as TFIDF
    from bilinear.training.similarities import CosineSimilarity as CosineSimilarity
    from bilinear.training.start import NormalStart as NormalStart


_HOMES = {
    "bilinear.data.datasets": ("fetch",),
    "bilinear.data.interactions": ("Interactions",),
    "bilinear.data.items": (
        "Items",
        "read_items",
    ),
    "bilinear.data.readers": (
        "Pairs",
        "read_interactions",
        "read_item_ratings",
        "read_pairs",
        "read_ratings",
        "read_sql",
    ),
    "bilinear.data.splits": (
        "split_file",
        "split_leave_last_out",
        "split_per_user",
        "split_random",
        "split_temporal",
        "split_users",
    ),
    "bilinear.data.synthetic": (
        "synthetic_catalogue",
        "synthetic_ratings",
    ),
    "bilinear.data.vocabulary": ("Vocabulary",),
    "bilinear.estimators.auto.auto_ranker": ("AutoRanker",),
    "bilinear.estimators.baselines": (
        "BiasModel",
        "GlobalMean",
    ),
    "bilinear.estimators.blend": ("Blend",),
    "bilinear.estimators.ease": (
        "EASE",
        "SparseEASE",
    ),
    "bilinear.estimators.measurement": ("measure",),
    "bilinear.estimators.graph_filter": ("GraphFilter",),
    "bilinear.estimators.implicit_als": ("ImplicitALS",),
    "bilinear.estimators.item_knn": ("ItemKNN",),
    "bilinear.estimators.matrix_factorization": ("MatrixFactorization",),
    "bilinear.estimators.auto.optuna_search": ("search_with_optuna",),
    "bilinear.estimators.popularity": ("Popularity",),
    "bilinear.estimators.random_walk": ("RandomWalk",),
    "bilinear.estimators.ranking_factorization": ("RankingFactorization",),
    "bilinear.estimators.recipes": ("fastai_recipe",),
    "bilinear.persistence.models": ("load",),
    "bilinear.evaluation.compare": ("compare",),
    "bilinear.evaluation.compare_ratings": ("compare_ratings",),
    "bilinear.evaluation.ranking": (
        "RankingProtocol",
        "evaluate_ranking",
    ),
    "bilinear.inspection": (
        "inspect",
        "item_map",
    ),
    "bilinear.model.link": (
        "Identity",
        "Sigmoid",
    ),
    "bilinear.objective.losses": (
        "CrossEntropy",
        "SquaredError",
    ),
    "bilinear.objective.ranking_losses": (
        "BPR",
        "CosineContrastive",
        "SampledSoftmax",
        "WARP",
    ),
    "bilinear.registry": ("register",),
    "bilinear.recommend.everyone": (
        "recommend_everyone",
        "similar_everyone",
    ),
    "bilinear.recommend.parquet": (
        "write_everyone",
        "write_similar",
    ),
    "bilinear.training.als": ("ALS",),
    "bilinear.training.checkpoint": ("Checkpoint",),
    "bilinear.training.implicit_als": (
        "Blocks",
        "Cholesky",
        "ConjugateGradient",
    ),
    "bilinear.training.lr_find": ("lr_find",),
    "bilinear.training.minibatch": ("MiniBatch",),
    "bilinear.training.optimizers": (
        "AdaGrad",
        "Adam",
        "AdamW",
        "Averaged",
        "LAMB",
        "LARS",
        "Lookahead",
        "Momentum",
        "Nesterov",
        "Plain",
        "RAdam",
        "RMSProp",
        "RowAdaGrad",
        "RunningMean",
        "WeightDecay",
    ),
    "bilinear.training.schedules": (
        "Constant",
        "Cosine",
        "Exponential",
        "Falling",
        "FlatCosine",
        "Linear",
        "OneCycle",
        "Phases",
        "Polynomial",
        "Product",
        "ReduceOnPlateau",
        "Step",
        "WarmRestarts",
        "WarmUp",
    ),
    "bilinear.training.sgd": ("SGD",),
    "bilinear.training.similarities": (
        "BM25",
        "TFIDF",
        "CosineSimilarity",
    ),
    "bilinear.training.start": ("NormalStart",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name == "lab":
        return import_module("bilinear.lab")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'bilinear' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME_OF) | {"lab"})

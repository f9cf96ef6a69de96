"""Optional packages: what to install for a call whose packages are missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from bilinear.errors import MissingDependencyError

_NEEDS = {
    "arrow": "Arrow tables need pyarrow",
    "optuna": "search_with_optuna needs Optuna",
    "pandas": "data frames of pandas need pandas",
    "plot": "plots need matplotlib",
    "polars": "data frames of polars need polars",
    "postgres": "PostgreSQL needs the psycopg package",
    "ray": "the engine Ray needs the ray package",
    "serve": "serving needs more packages",
}


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the imports of an extra of bilinear: one that fails is a `MissingDependencyError`."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(f"{_NEEDS[name]}: pip install 'bilinear[{name}]'") from error

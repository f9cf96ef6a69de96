"""Errors: all classes that a caller may want to catch.

```
BilinearError
├── DataError (ValueError)             the table cannot be used as it is
│   ├── MissingColumnError             a needed column is not there
│   ├── AmbiguousColumnError           several columns fit a role
│   ├── RatingValueError               a rating is not finite
│   ├── IdValueError                   an id is missing or of no usable type
│   ├── DuplicatePairError             one user rated one item twice (policy "error")
│   ├── FeatureColumnError             a column of users or items is not a feature
│   ├── EmptyDataError                 nothing is left to learn from
│   └── FileFormatError                wrong delimiter, broken archive, mixed encodings, another layout
├── UnknownIdError (KeyError)          a user or item that the model has never seen
├── NotFittedError (ValueError, AttributeError)  a call that needs `fit` first
├── ParameterValueError (ValueError)   an argument outside what it may be
├── DivergenceError (ArithmeticError)  the loss stopped being a finite number
├── ModelFileError (ValueError)        a model folder that is damaged, newer or hostile
├── CheckpointError (ValueError)       a checkpoint that is damaged, or of another training
├── MemoryLimitError (MemoryError)     the work would not fit into memory
├── DownloadError (OSError)            a data set could not be fetched
├── EngineError (RuntimeError)         a cluster cannot be reached, or did not finish the work
└── MissingDependencyError (ImportError)  an optional package is needed
```

Every message says what is wrong, where, and what to do.
"""

__all__ = [
    "AmbiguousColumnError",
    "BilinearError",
    "CheckpointError",
    "DataError",
    "DivergenceError",
    "DownloadError",
    "DuplicatePairError",
    "EmptyDataError",
    "EngineError",
    "FeatureColumnError",
    "FileFormatError",
    "IdValueError",
    "MemoryLimitError",
    "MissingColumnError",
    "MissingDependencyError",
    "ModelFileError",
    "NotFittedError",
    "ParameterValueError",
    "RatingValueError",
    "UnknownIdError",
]


class BilinearError(Exception):
    """The root: `except BilinearError` catches all that bilinear raises on purpose.

    Examples:
        >>> import bilinear
        >>> try:
        ...     bilinear.read_ratings("nothing.csv")
        ... except bilinear.errors.BilinearError as error:
        ...     print(type(error).__name__)
        DataError
    """


class DataError(BilinearError, ValueError):
    """The table cannot be used as it is.

    Examples:
        >>> from bilinear import Interactions, split_file
        >>> ratings = Interactions.from_columns(["ann"], ["Alien"], [5], source="ratings.csv")
        >>> split_file(ratings, ratings)
        Traceback (most recent call last):
            ...
        bilinear.errors.DataError: ratings.csv: 1 of its pairs are in ratings.csv as well, such ...
    """


class MissingColumnError(DataError):
    """A column that is needed is missing.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_ratings
        >>> _ = Path("ratings.csv").write_text("user,item,opinion\\nann,Alien,5\\n")
        >>> read_ratings("ratings.csv")
        Traceback (most recent call last):
            ...
        bilinear.errors.MissingColumnError: ratings.csv: no rating column found; the columns are ...
    """


class AmbiguousColumnError(DataError):
    """Several columns fit a role; the caller must name one.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_interactions
        >>> _ = Path("plays.csv").write_text("user,item,amount\\nann,Alien,2\\nbob,Alien,7.5\\nbob,Heat,3\\n")
        >>> read_interactions("plays.csv")
        Traceback (most recent call last):
            ...
        bilinear.errors.AmbiguousColumnError: plays.csv: column 'amount' (numbers 2 to 7.5) may ...
    """


class RatingValueError(DataError):
    """A rating is missing, not a number, or not finite.

    Examples:
        >>> from bilinear import Interactions
        >>> Interactions.from_columns(["ann"], ["Alien"], [float("nan")])
        Traceback (most recent call last):
            ...
        bilinear.errors.RatingValueError: arrays, row 1: rating nan is not a finite number; ...
    """


class IdValueError(DataError):
    """An id is missing, or of a type that cannot be an id.

    Examples:
        >>> from bilinear import Interactions
        >>> Interactions.from_columns(["ann", None], ["Alien", "Heat"], [5, 3])
        Traceback (most recent call last):
            ...
        bilinear.errors.IdValueError: row 2: the user is missing; fill it in or drop the row
    """


class FeatureColumnError(DataError):
    """A column of users or items tells nothing that a model could use.

    Examples:
        >>> from bilinear import Items, Vocabulary
        >>> from bilinear.data.features.inference import resolved
        >>> resolved("mood", Items(Vocabulary.from_ids([1, 2]), {"mood": ["", ""]}))
        Traceback (most recent call last):
            ...
        bilinear.errors.FeatureColumnError: table: column 'mood' is empty; leave it out
    """


class DuplicatePairError(DataError):
    """One user rated one item more than once and the policy is "error".

    Examples:
        >>> from bilinear import Interactions
        >>> Interactions.from_columns(["ann", "ann"], ["Heat", "Heat"], [5, 3], duplicates="error")
        Traceback (most recent call last):
            ...
        bilinear.errors.DuplicatePairError: arrays, rows 1 and 2: user 'ann' rated item 'Heat' ...
    """


class EmptyDataError(DataError):
    """No rows, or too few users or items to learn from.

    Examples:
        >>> from bilinear import Interactions, Popularity
        >>> Popularity().fit(Interactions.from_columns(["ann"], ["Heat"]))
        Traceback (most recent call last):
            ...
        bilinear.errors.EmptyDataError: arrays: only one user has interactions; collaborative ...
    """


class FileFormatError(DataError):
    """The file is damaged, or laid out in a way that cannot be read as ratings.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import read_ratings
        >>> _ = Path("ratings.zip").write_bytes(b"PK\\x03\\x04 and no more")
        >>> read_ratings("ratings.zip")
        Traceback (most recent call last):
            ...
        bilinear.errors.FileFormatError: ratings.zip: the zip archive is damaged (File is not a ...
    """


class UnknownIdError(BilinearError, KeyError):
    """A user or item that is not in the vocabulary.

    Examples:
        >>> from bilinear import Interactions, Popularity
        >>> clicks = Interactions.from_columns(["ann", "bob"], ["tea", "jam"])
        >>> Popularity().fit(clicks).recommend("cat")
        Traceback (most recent call last):
            ...
        bilinear.errors.UnknownIdError: no such user: 'cat'; the model knows 2 users (text ids ...
    """

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0]) if self.args else ""


class NotFittedError(BilinearError, ValueError, AttributeError):
    """The model must be fitted before this call.

    Examples:
        >>> from bilinear import Popularity
        >>> Popularity().recommend("ann")
        Traceback (most recent call last):
            ...
        bilinear.errors.NotFittedError: this Popularity has no user_vocabulary_ yet: call ...
    """


class ParameterValueError(BilinearError, ValueError):
    """An argument lies outside what it may be.

    Examples:
        >>> from bilinear import synthetic_ratings
        >>> synthetic_ratings(n_users=50, n_items=30, n_ratings=2000)
        Traceback (most recent call last):
            ...
        bilinear.errors.ParameterValueError: n_ratings=2,000; 50 users and 30 items hold from 50 ...
    """


class DivergenceError(BilinearError, ArithmeticError):
    """The training loss stopped being a finite number.

    Examples:
        >>> from bilinear import GradientDescent, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(GradientDescent(), n_epochs=5, learning_rate=1e6)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> model.fit(synthetic_ratings(50, 30, 600, rng=0))
        Traceback (most recent call last):
            ...
        bilinear.errors.DivergenceError: the training loss ...
    """


class ModelFileError(BilinearError, ValueError):
    """The model folder is damaged, of a newer format, or not to be trusted.

    Examples:
        >>> import bilinear
        >>> bilinear.load("nothing")
        Traceback (most recent call last):
            ...
        bilinear.errors.ModelFileError: nothing: no such folder; give the folder that `bilinear ...
    """


class CheckpointError(BilinearError, ValueError):
    """The checkpoint is damaged, of another training, or not to be gone on with.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import MatrixFactorization, synthetic_ratings
        >>> Path("state").mkdir()
        >>> _ = Path("state", "checkpoint.safetensors").write_bytes(b"not a checkpoint")
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0)
        >>> model.fit(synthetic_ratings(50, 30, 600, rng=0), checkpoint="state")
        Traceback (most recent call last):
            ...
        bilinear.errors.CheckpointError: state/checkpoint.safetensors ...
    """


class MemoryLimitError(BilinearError, MemoryError):
    """The work needs more memory than there is.

    Examples:
        >>> from scipy.sparse import csr_array
        >>> from bilinear import EASE, Interactions
        >>> clicks = csr_array(([1, 1], ([0, 1], [0, 1])), shape=(2, 2_000_000))
        >>> EASE().fit(Interactions.from_matrix(clicks, has_ratings=False))
        Traceback (most recent call last):
            ...
        bilinear.errors.MemoryLimitError: EASE of 2 interactions needs ...
    """


class DownloadError(BilinearError, OSError):
    """A data set could not be fetched.

    Examples:
        >>> import bilinear
        >>> bilinear.fetch("movielens-latest-small", "cache", base_url="http://localhost:9/")
        Traceback (most recent call last):
            ...
        bilinear.errors.DownloadError: movielens-latest-small could not be fetched: ...
    """


class EngineError(BilinearError, RuntimeError):
    """A cluster cannot be reached, is set up otherwise than this machine, or did not finish the work.

    Examples:
        >>> import sys
        >>> from unittest.mock import MagicMock, patch
        >>> from bilinear import EASE, Ray, recommend_everyone, synthetic_catalogue
        >>> model = EASE(l2=20.0).fit(synthetic_catalogue(1000, 40, 60, rng=0).interactions)
        >>> absent = MagicMock(is_initialized=lambda: False)
        >>> with patch.dict(sys.modules, {"ray": absent, "ray.exceptions": MagicMock()}):
        ...     recommend_everyone(model, engine=Ray("127.0.0.1:1"))
        Traceback (most recent call last):
            ...
        bilinear.errors.EngineError: no Ray cluster answers at 127.0.0.1:1 ...
    """


class MissingDependencyError(BilinearError, ImportError):
    """An optional package is needed for this call.

    Examples:
        >>> import sys
        >>> from unittest.mock import patch
        >>> from bilinear import MatrixFactorization, synthetic_ratings
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> with patch.dict(sys.modules, {"matplotlib.figure": None}):
        ...     history.plot()
        Traceback (most recent call last):
            ...
        bilinear.errors.MissingDependencyError: plots need matplotlib: pip install 'bilinear[plot]'
    """

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
    """The root: `except BilinearError` catches all that bilinear raises on purpose."""


class DataError(BilinearError, ValueError):
    """The table cannot be used as it is."""


class MissingColumnError(DataError):
    """A column that is needed is missing."""


class AmbiguousColumnError(DataError):
    """Several columns fit a role; the caller must name one."""


class RatingValueError(DataError):
    """A rating is missing, not a number, or not finite."""


class IdValueError(DataError):
    """An id is missing, or of a type that cannot be an id."""


class FeatureColumnError(DataError):
    """A column of users or items tells nothing that a model could use."""


class DuplicatePairError(DataError):
    """One user rated one item more than once and the policy is "error"."""


class EmptyDataError(DataError):
    """No rows, or too few users or items to learn from."""


class FileFormatError(DataError):
    """The file is damaged, or laid out in a way that cannot be read as ratings."""


class UnknownIdError(BilinearError, KeyError):
    """A user or item that is not in the vocabulary."""

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0]) if self.args else ""


class NotFittedError(BilinearError, ValueError, AttributeError):
    """The model must be fitted before this call."""


class ParameterValueError(BilinearError, ValueError):
    """An argument lies outside what it may be."""


class DivergenceError(BilinearError, ArithmeticError):
    """The training loss stopped being a finite number."""


class ModelFileError(BilinearError, ValueError):
    """The model folder is damaged, of a newer format, or not to be trusted."""


class CheckpointError(BilinearError, ValueError):
    """The checkpoint is damaged, of another training, or not to be gone on with."""


class MemoryLimitError(BilinearError, MemoryError):
    """The work needs more memory than there is."""


class DownloadError(BilinearError, OSError):
    """A data set could not be fetched."""


class MissingDependencyError(BilinearError, ImportError):
    """An optional package is needed for this call."""

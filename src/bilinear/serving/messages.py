"""Messages: the types that check requests, write answers and make the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

LONGEST_ID = 256
MOST_ITEMS = 500
MOST_RATINGS = 2000
MOST_CANDIDATES = 100_000
MOST_PAIRS = 10_000
MOST_COLUMNS = 100
LONGEST_TEXT = 10_000
LONGEST_PROPERTIES = 1 << 16
MOST_PUT = 100_000

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LONGEST_ID,
        pattern="^[^\\u0000]+$",
        description="Any text without NUL. Whole-number ids are written as text.",
    ),
]
Words = Annotated[str, Meta(min_length=1, max_length=200)]
N = Annotated[int, Meta(ge=1, le=MOST_ITEMS, description="Length of the list.")]
Whole = Annotated[
    float, Meta(ge=1, le=MOST_ITEMS, multiple_of=1, description="Length of the list; 10.0 is 10 in JSON.")
]
Limit = Annotated[int, Meta(ge=1, le=1000, description="Entries a page.")]
Offset = Annotated[int, Meta(ge=0, le=1_000_000_000, description="Entries to pass over.")]
Value = Annotated[float, Meta(ge=-1e9, le=1e9)]
Time = Annotated[float, Meta(ge=0, le=1e11, description="Seconds since 1970, UTC.")]
Candidates = Annotated[list[Id], Meta(max_length=MOST_CANDIDATES, description="Only these items.")]
Categories = Annotated[list[Words], Meta(max_length=100, description="Only items of one of these.")]
Basis = Annotated[
    Literal["training", "feedback", "session", "features", "non-personal"],
    Meta(
        description="Basis of the list: the user as trained; the user folded in from feedback and "
        "training ratings; the ratings in the request; what was put of the user; or nothing personal, the "
        "best list for all."
    ),
]
ColumnValues = Annotated[list[Words], Meta(max_length=100)]
Filters = Annotated[
    dict[str, ColumnValues],
    Meta(
        max_length=20,
        description="Only items whose columns have these values, by column: of several values of a column "
        "any, of several columns all. A number may be a range: `1990..1999`, `1990..`.",
    ),
]
New = Annotated[
    Literal["mixed", "only", "none"],
    Meta(description="Items without training ratings: among the others, alone, or not at all."),
]
Text = Annotated[str, Meta(max_length=LONGEST_TEXT, pattern="^[^\\u0000]*$")]
Cell = Text | int | float | bool | None | Annotated[list[Text | int | float], Meta(max_length=20_000)]


class Strict(Struct, frozen=True, forbid_unknown_fields=True):
    """Refuses names it does not know, so that no argument is ignored."""


class ItemRating(Strict, frozen=True):
    item: Id
    rating: Value


Ratings = Annotated[list[ItemRating], Meta(max_length=MOST_RATINGS)]


class RecommendQuery(Strict, frozen=True):
    user: Id
    n: N = 10
    exclude_seen: bool = True
    category: Categories = []
    candidate: Candidates = []
    new: New = "mixed"
    filters: Annotated[
        Filters,
        Meta(
            description="Any other name is a column of items: `genres=Drama&genres=War&year=1990..1999` "
            "lists what is Drama or War and of those years; see `/v1/columns`. For a column called as "
            "another parameter use POST."
        ),
    ] = {}


class RecommendBody(Strict, frozen=True):
    user: Id
    n: Whole = 10
    exclude_seen: bool = True
    categories: Categories = []
    candidates: Candidates = []
    new: New = "mixed"
    filters: Filters = {}


class SessionBody(Strict, frozen=True):
    ratings: Ratings
    n: Whole = 10
    exclude_seen: bool = True
    categories: Categories = []
    candidates: Candidates = []
    new: New = "mixed"
    filters: Filters = {}


class SimilarQuery(Strict, frozen=True):
    item: Id
    n: N = 10
    category: Categories = []


class SearchQuery(Strict, frozen=True):
    q: Annotated[str, Meta(max_length=200, description="Part of a title; case and accents do not matter.")]
    n: N = 20
    category: Categories = []


class Pair(Strict, frozen=True):
    user: Id
    item: Id


class PredictBody(Strict, frozen=True):
    pairs: Annotated[list[Pair], Meta(max_length=MOST_PAIRS)]


class ExplainQuery(Strict, frozen=True):
    user: Id
    item: Id
    n: N = 10


class ExplainSessionBody(Strict, frozen=True):
    ratings: Ratings
    item: Id
    n: Whole = 10


class UserQuery(Strict, frozen=True):
    user: Id
    limit: Limit = 100
    offset: Offset = 0


class UsersQuery(Strict, frozen=True):
    prefix: Annotated[str, Meta(max_length=LONGEST_ID, description="Beginning of the id.")] = ""
    limit: Limit = 100
    offset: Offset = 0


class ItemQuery(Strict, frozen=True):
    item: Id


class UserIdQuery(Strict, frozen=True):
    user: Id


class Content(Strict, frozen=True):
    """Properties of an item or a user; `features` by the names of the model's columns (`/v1/columns`)."""

    title: Text | None = None
    features: Annotated[dict[str, Cell], Meta(max_length=MOST_COLUMNS)] = {}


class PropertiesLine(Strict, frozen=True):
    """One line of an import of properties; features of null delete."""

    side: Literal["item", "user"]
    id: Id
    title: Text | None = None
    features: Annotated[dict[str, Cell], Meta(max_length=MOST_COLUMNS)] | None = None
    time: Time | None = None


class RatingBody(Strict, frozen=True):
    rating: Value
    time: Time | None = None


class DeleteQuery(Strict, frozen=True):
    user: Id
    item: Id
    time: Time = -1.0


class FeedbackLine(Strict, frozen=True):
    """One line of an import; a rating of null deletes."""

    user: Id
    item: Id
    rating: Value | None
    time: Time | None = None


class ExportQuery(Strict, frozen=True):
    format: Literal["ndjson", "csv"] = "ndjson"
    deleted: Annotated[bool, Meta(description="Deletions as well, with an empty rating.")] = False


class ExportPropertiesQuery(Strict, frozen=True):
    deleted: Annotated[bool, Meta(description="Deletions as well, with features of null.")] = False


class RetrainBody(Strict, frozen=True):
    max_worse: Annotated[float, Meta(ge=0, le=1, description="Share the score may be worse.")] | None = None
    bound: (
        Annotated[
            float,
            Meta(ge=-1e9, le=1e9, description="The worst score that may go live: most RMSE, least NDCG."),
        ]
        | None
    ) = None


class Nothing(Strict, frozen=True):
    """An empty object."""


class RankedItem(Struct, frozen=True):
    item: str
    title: str
    score: float
    prediction: float | None
    categories: list[str]
    new: Annotated[bool, Meta(description="Put to the server, and without training ratings.")] = False


class Recommended(Struct, frozen=True):
    """`personal` is false where nothing is known of the user; then the list is the same for all."""

    user: str | None
    personal: bool
    basis: Basis
    n_ratings: Annotated[int, Meta(description="Known ratings of the user that this list rests on.")]
    model: Annotated[str, Meta(description="Version of the model that made all of this answer.")]
    unknown_items: Annotated[list[str], Meta(description="Asked about, but not known to the model.")]
    items: list[RankedItem]


class SimilarItem(Struct, frozen=True):
    item: str
    title: str
    similarity: float
    categories: list[str]
    new: bool = False


class Similar(Struct, frozen=True):
    item: str
    title: str
    model: str
    items: list[SimilarItem]


class FoundItem(Struct, frozen=True):
    item: str
    title: str
    categories: list[str]
    n_ratings: int
    new: bool = False


class Found(Struct, frozen=True):
    q: str
    more: bool
    items: list[FoundItem]


class Predicted(Struct, frozen=True):
    user: str
    item: str
    score: float
    prediction: Annotated[float | None, Meta(description="In rating units; null for ranking models.")]
    basis: Basis
    known_item: bool


class PredictedPairs(Struct, frozen=True):
    model: str
    predictions: list[Predicted]


class Contribution(Struct, frozen=True):
    item: str
    title: str
    rating: float
    contribution: Annotated[float, Meta(description="Contribution of this rating to the score.")]


class Explained(Struct, frozen=True):
    """score = global_mean + item_bias + sum of all contributions + rest."""

    user: str | None
    item: str
    title: str
    model: str
    basis: Basis
    score: float
    prediction: float | None
    global_mean: float
    item_bias: float
    user_bias: Annotated[
        float, Meta(description="The user's own bias; the ratings' contributions hold it already.")
    ]
    contributions: Annotated[list[Contribution], Meta(description="The largest, by size.")]
    others: Annotated[float, Meta(description="Sum of the contributions that are not listed.")]
    rest: Annotated[
        float,
        Meta(description="Part that the user's ratings do not explain (training is not a fold-in)."),
    ]


class KnownRating(Struct, frozen=True):
    item: str
    title: str
    rating: float
    source: Literal["training", "feedback"]
    time: float | None


class UserRecord(Struct, frozen=True):
    user: str
    known: Annotated[bool, Meta(description="Whether the model was trained on this user.")]
    basis: Basis
    bias: float | None
    n_ratings: int
    n_training: int
    n_feedback: int
    mean_rating: float | None
    ratings: list[KnownRating]
    model: str
    features: Annotated[dict[str, Any] | None, Meta(description="As put, or null.")] = None


class UserRow(Struct, frozen=True):
    user: str
    n_ratings: int


class Users(Struct, frozen=True):
    n_users: int
    users: list[UserRow]


class ItemRecord(Struct, frozen=True):
    item: str
    title: str
    categories: list[str]
    texts: dict[str, str]
    n_ratings: int
    mean_rating: float | None
    bias: float | None
    model: str
    new: bool = False
    features: Annotated[dict[str, Any] | None, Meta(description="As put, or null.")] = None


class Category(Struct, frozen=True):
    category: str
    n_items: int


class CategoryList(Struct, frozen=True):
    categories: list[Category]


class FeedbackRecord(Struct, frozen=True):
    """`stored` is false where a later rating or deletion of the pair was there already and stays."""

    user: str
    item: str
    rating: float | None
    time: float
    stored: bool


class PropertiesRecord(Struct, frozen=True):
    """What is stored of an item or user, and how the model takes it; features of null are a deletion."""

    side: Literal["item", "user"]
    id: str
    title: str | None
    features: dict[str, Any] | None
    time: float
    stored: Annotated[bool, Meta(description="False where a later write was there already and stays.")]
    missing: Annotated[list[str], Meta(description="Features without a value: the mean answers for them.")]
    ignored: Annotated[
        dict[str, list[str]], Meta(description="Values that training has not met, by feature: as missing.")
    ]
    trained: Annotated[
        bool,
        Meta(description="The model was trained on its ratings, and goes by them until it is trained anew."),
    ]
    model: str


class Column(Struct, frozen=True):
    """A column of items or users.

    `values` holds the most frequent categories of an item's column, most frequent first.
    """

    column: str
    kind: Annotated[str, Meta(description="`categories`, `number`, `words`, `vector`, `dates` or `text`.")]
    is_feature: bool
    values: list[str]


class Columns(Struct, frozen=True):
    """Columns that can be put (those of features), and those of items that can be filtered by."""

    items: list[Column]
    users: list[Column]


class FeedbackPage(Struct, frozen=True):
    user: str
    n_feedback: int
    feedback: list[FeedbackRecord]


class Imported(Struct, frozen=True):
    n_rows: int


class ModelInfo(Struct, frozen=True):
    model: str
    estimator: str
    arguments: dict[str, str]
    n_users: int
    n_items: int
    n_ratings: int
    n_factors: int | None
    n_new_items: Annotated[int, Meta(description="Put to the server, and without training ratings.")]
    n_new_users: int
    rating_range: list[float] | None
    has_ratings: Annotated[bool, Meta(description="False for a model of clicks: a rating is a count there.")]
    source: str
    held_out: Annotated[dict[str, float] | None, Meta(description="Score when it was measured.")]
    loaded_at: float
    updates: Annotated[
        Literal["exact", "approximate", "no"], Meta(description="How it learns feedback without training.")
    ]
    updated_at: Annotated[float | None, Meta(description="When it last did since it was trained.")]
    n_earlier: Annotated[int, Meta(description="Earlier models that a rollback can go back to.")]
    can_predict: bool
    can_similar: bool
    has_item_features: Annotated[bool, Meta(description="Items can be put.")]
    has_user_features: bool
    has_titles: bool
    has_categories: bool
    feedback: Annotated[str, Meta(description="Where feedback is kept, without password.")]


class Swapped(Struct, frozen=True):
    model: str
    before: str


class RetrainState(Struct, frozen=True):
    state: Literal["never", "running", "live", "refused", "failed"]
    message: str
    started_at: float | None
    ended_at: float | None
    metric: str | None
    score: float | None
    bound: float | None
    model: str | None


class Health(Struct, frozen=True):
    status: Literal["ok", "unavailable"]
    model: str
    store: Annotated[str, Meta(description="`ok`, `not asked`, or a code; the server's log says more.")]
    model_folder: Annotated[
        Literal["as loaded", "replaced", "damaged", "not asked"],
        Meta(description="Beside the model that answers: `replaced` waits for a reload."),
    ] = "not asked"


class Problem(Struct, frozen=True):
    code: str
    message: str


class ProblemAnswer(Struct, frozen=True):
    error: Problem


class ItemMap(Struct, frozen=True):
    """Columns of equal length, one entry an item; `category` counts into `categories`, -1 is none."""

    model: str
    explained: Annotated[list[float], Meta(description="Share of the items' variance in x and in y.")]
    categories: list[str]
    items: list[str]
    titles: list[str]
    x: list[float]
    y: list[float]
    category: list[int]
    biases: list[float | None]
    n_ratings: list[int]
    n_new: Annotated[int, Meta(description="The last so many were put, and have no training ratings.")] = 0
    unit: Annotated[str, Meta(description="What x, y and the biases are measured in.")] = ""


class Report(Struct, frozen=True):
    """Measurements made when the model was trained; empty objects without any."""

    model: str
    report: dict[str, Any]
    history: dict[str, Any] | None
    search: dict[str, Any] | None
    charts: Annotated[
        dict[str, list[str]],
        Meta(description="SVG figures for a page, of the `scores` and of the `training`."),
    ] = {}

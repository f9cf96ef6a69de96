"""The service without a network: a rating is stored, and the next list knows it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import bilinear
from bilinear.serving import ModelFolder, Service, messages, open_store

table = bilinear.synthetic_catalogue(5_000, n_users=100, n_items=150, rng=0).interactions
with TemporaryDirectory() as folder:
    bilinear.BiasModel(l2_biases=2.0).fit(table).save(Path(folder) / "model")
    store = open_store(f"sqlite:///{folder}/feedback.db")
    service = Service(ModelFolder(Path(folder) / "model"), store)
    user = str(table.user_vocabulary[0])
    for best in service.recommend(messages.RecommendBody(user, n=5)).items:
        print(best.item, best.prediction)
    store.close()

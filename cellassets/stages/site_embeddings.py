"""The stage `site_embeddings`: embeds every stored site of an experiment with one encoder, in parts.

Flagged sites are embedded too: the map decides which sites to use. Each part is written in one atomic step. So after an
interrupted run the next run keeps the finished parts.
"""

import tempfile
from contextlib import closing
from pathlib import Path

from cellassets.encoders.summary import SiteEmbeddingsSummary
from cellassets.errors import StaleArtifact
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage
from cellassets.stages.stores import open_store
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan

CODE_VERSION = "1"


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the embeddings of one experiment by one model from the present inputs.

    Raises:
        NotReady: the experiment is not stored.
        RegistryError: there is no such model.
    """
    experiment_id, model_key = keys["experiment"], keys["model"]
    entry, store = snapshot.model(model_key), snapshot.need("plate_store", experiment_id)
    inputs = {
        "plate_store": store.fingerprint,
        "model_key": entry.key,
        "model": entry.fingerprint,
        "code_version": CODE_VERSION,
    }
    return snapshot.plan("site_embeddings", (experiment_id, model_key), inputs, pins=[store], settings={"model": entry})


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the embeddings, after making the missing parts.

    Raises:
        RegistryError: the files of the model do not contain an encoder.
        OutOfMemory: the pod or the GPU has too little memory.
        EncoderError: the model was made for other channels, or a vector is not finite; the message names the site.
        ProfilesError: a table of profiles lacks the experiment, or wells or sites of it.
        CorruptArtifact: a shard of the store or a file of the model is damaged.
        StaleArtifact: the model was registered again with other files.
    """
    from cellassets.encoders.embed import embed_store
    from cellassets.encoders.loading import load_encoder
    from cellassets.training.memory import memory_errors_named

    entry = plan.settings["model"]
    registered = context.registry.find(entry.key)
    if registered.fingerprint != entry.fingerprint:
        message = (
            f"model {entry.key}: its files are {registered.fingerprint}, and the plan of {plan} was made for "
            f"{entry.fingerprint}; materialise it again"
        )
        raise StaleArtifact(message)
    store = open_store(context.lake, plan.pin("plate_store", plan.keys[0]))
    with (
        memory_errors_named(str(plan), stage="site_embeddings", smaller="use a smaller model"),
        tempfile.TemporaryDirectory() as scratch,
        closing(
            load_encoder(
                context.registry.fetch(entry.key, Path(scratch)), tags=entry.tags, containers=context.containers
            )
        ) as encoder,
        context.lake.draft(plan, is_shared=True) as draft,
    ):
        embedded = embed_store(store, encoder, draft.folder, model_key=entry.key, progress=context.progress)
        return draft.publish(embedded.names, embedded.summary)


SITE_EMBEDDINGS = Stage(
    name="site_embeddings",
    axes=("experiment", "model"),
    summary=SiteEmbeddingsSummary,
    plan=plan,
    make=make,
)

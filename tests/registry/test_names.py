"""People name a model version by its key or by an alias."""

import pytest

from cellassets.errors import RegistryError
from cellassets.registry import ModelEntry
from cellassets.registry.names import entry_named


def entry(name, version, *aliases):
    return ModelEntry(
        key=f"{name}.v{version}", name=name, version=version, kind="network", fingerprint="f", aliases=aliases,
        created_at_ms=0, tags={}, run_id=None,
    )  # fmt: skip


ENTRIES = [entry("a", 2), entry("a", 10, "champion"), entry("b", 1, "candidate"), entry("b.v2", 1)]


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("a.v2", "a.v2"),
        ("a@champion", "a.v10"),
        ("@champion", "a.v10"),
        ("a@latest", "a.v10"),
        ("b@candidate", "b.v1"),
        ("b.v2.v1", "b.v2.v1"),
    ],
)
def test_a_key_an_alias_and_the_latest_version_are_found(asked, key):
    assert entry_named(ENTRIES, asked).key == key


@pytest.mark.parametrize("asked", ["a", "a.v3", "b@champion", "c@latest", "@latest", "@", "", "a@"])
def test_what_is_not_there_is_refused_with_what_there_is_to_choose_from(asked):
    why = ": no version of b has the alias champion" if asked == "b@champion" else ""
    with pytest.raises(
        RegistryError, match=rf"is not registered{why}; registered are a.v2, a.v10 @champion, b.v1 @candidate"
    ):
        entry_named(ENTRIES, asked)


def test_an_alias_of_two_models_needs_a_name():
    two = [entry("a", 1, "champion"), entry("b", 1, "champion")]
    with pytest.raises(RegistryError, match=r"is 2 versions: a.v1, b.v1"):
        entry_named(two, "@champion")
    assert entry_named(two, "b@champion").key == "b.v1"

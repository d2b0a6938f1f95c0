"""References are found by their values: compared with the mapping of LibreChat that a person wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.sources import LINKS, MAKERS, write_dump
from mappings import MAPPINGS
from migrator.events import silent
from migrator.mapping.references import MemberList, Reference, UncheckedReference
from migrator.scaffold.names import is_named_after, singular, snake_case
from migrator.scaffold.profiling import SourceStatistics, profile
from migrator.scaffold.references import FoundReference, find_references
from migrator.scaffold.statistics import dotted
from migrator.sources import open_source

FIXTURES = Path(__file__).parents[2] / "fixtures"
Link = tuple[str, str, str, str]  # collection, path, collection, key

# What else the Mongoose models of LibreChat refer to, by the last name of the path: it means the same everywhere.
MODELS = {
    "user": ("users", "_id"), "userId": ("users", "_id"), "author": ("users", "_id"), "grantedBy": ("users", "_id"),
    "updatedBy": ("users", "_id"), "memberIds": ("users", "_id"), "embeddedEntities": ("users", "_id"),
    "principalId": ("users", "_id"), "conversationId": ("conversations", "conversationId"), "role": ("roles", "name"),
    "messageId": ("messages", "messageId"), "targetMessageId": ("messages", "messageId"),
    "runId": ("messages", "messageId"), "agentId": ("agents", "id"), "agentIds": ("agents", "id"),
    "agent_id": ("agents", "id"), "initial_agent_id": ("agents", "id"), "from": ("agents", "id"),
    "to": ("agents", "id"), "file_id": ("files", "file_id"), "file_ids": ("files", "file_id"),
    "files": ("files", "file_id"), "category": ("categories", "value"),
    "assistant_id": ("assistants", "assistant_id"), "projectIds": ("projects", "_id"), "skillId": ("skills", "_id"),
    "groupId": ("promptgroups", "_id"), "productionId": ("prompts", "_id"), "resourceId": ("agents", "_id"),
}  # fmt: skip
MORE = {  # by the whole path
    "agents.category → agentcategories.value",
    "agents.versions[].category → agentcategories.value",
    "sharedlinks.messages[] → messages._id",
    "auditlogs.actor.id → users._id",
}


@pytest.fixture(scope="module", params=["librechat", "demo"])
def source(request: pytest.FixtureRequest) -> SourceStatistics:
    return profile(open_source(f"dump:{FIXTURES / request.param}"), silent)


def written() -> set[Link]:
    """The references of the mapping."""
    found: set[Link] = set()
    for mapping in MAPPINGS:
        for rule in mapping.rules:
            if isinstance(rule, Reference | UncheckedReference):
                found.add((mapping.name, rule.path, rule.key.collection, rule.key.path))
            elif isinstance(rule, MemberList):
                found.add((mapping.name, f"{rule.path}[]", rule.collection, "_id"))
        found |= {(mapping.name, f"{link.path}[]", link.key.collection, link.key.path) for link in mapping.links}
    return found | {("conversations", "agent_id", "agents", "id")}  # a rule of its own: it need not exist


def as_link(found: FoundReference) -> Link:
    return found.collection, dotted(found.path), found.target, dotted(found.target_path)


def is_right(found: FoundReference) -> bool:
    last = next(name for name in reversed(found.path) if name != "[]")
    if "codeEnvRef" in dotted(found.path) and last == "id":  # `kind` says whose ID it is: a user's in the fixture
        return found.target == "users"
    in_models = MODELS.get(last) == (found.target, dotted(found.target_path))
    return in_models or as_link(found) in written() or str(found) in MORE


def test_references_equal_those_that_a_person_wrote(source: SourceStatistics) -> None:
    """Recall of at least 90 % against the mapping, precision of at least 95 % against mapping and models."""
    found = find_references(source)
    documents = {each.name: each for each in source.collections}
    possible = {
        link
        for link in written()
        if link[0] in documents and documents[link[0]].find(*link[1].replace("[]", ".[]").split("."))
    }
    missed = possible - {as_link(each) for each in found}
    wrong = [str(each) for each in found if not is_right(each)]
    assert possible
    assert len(missed) <= 0.1 * len(possible), missed
    assert len(wrong) <= 0.05 * len(found), wrong


def test_names_are_read_as_people_write_them() -> None:
    assert [singular(word) for word in ("categories", "users", "address", "addresses", "boxes", "status")] == [
        "category", "user", "address", "address", "box", "status",
    ]  # fmt: skip
    assert [snake_case(name) for name in ("createdAt", "userID", "HTTPStatus", "_id", "a.b c", "2fa", "日本")] == [
        "created_at", "user_id", "http_status", "id", "a_b_c", "_2_fa", "field",
    ]  # fmt: skip
    assert is_named_after("courseId", "courses")
    assert is_named_after("groupId", "promptgroups")
    assert not is_named_after("author", "users")
    assert not is_named_after("id", "users")


@pytest.mark.parametrize("application", MAKERS)
def test_references_of_other_applications_equal_their_models(application: str, tmp_path: Path) -> None:
    """Every reference of the models is found, and no other."""
    write_dump(MAKERS[application](1, 400), tmp_path / "dump")
    found = find_references(profile(open_source(f"dump:{tmp_path / 'dump'}"), silent))
    pairs = {f"{each.collection}.{dotted(each.path)}": f"{each.target}.{dotted(each.target_path)}" for each in found}
    assert pairs == LINKS[application]


# What the published models declare, as schemas or in their documentation (examples/published).
PUBLISHED = {
    "reaction": {
        **{f"{name}.shopId": "Shops._id" for name in ("Accounts", "Groups", "Tags", "Products", "Orders")},
        **{f"Orders.{name}[].shopId": "Shops._id" for name in ("payments", "shipping", "shipping[].items")},
        "Accounts.groups[]": "Groups._id",
        "Tags.relatedTagIds[]": "Tags._id",
        "Products.ancestors[]": "Products._id",
        "Products.hashtags[]": "Tags._id",
        "Orders.accountId": "Accounts._id",
        "Orders.shipping[].items[].productId": "Products._id",
        "Orders.shipping[].items[].variantId": "Products._id",
    },
    "payload": {
        "categories.parent": "categories._id",
        "comments.parent": "comments._id",
        "comments.post": "posts._id",
        "globals.items[].post": "posts._id",
        "_posts_versions.parent": "posts._id",
        **{
            f"{of}.{field}": f"{to}._id"
            for of in ("posts", "_posts_versions.version")
            for field, to in {
                "author": "users", "categories[]": "categories", "tags[]": "tags", "hero": "media",
                "meta.image": "media", "layout[].images[].image": "media", "links[].target.value": "posts",
            }.items()
        },
    },
    "iotagent": {"commands.deviceId": "devices.id", "devices.apikey": "groups.apikey"},
}  # fmt: skip


@pytest.mark.parametrize("application", PUBLISHED)
def test_references_of_published_models_are_found(application: str) -> None:
    """Every reference that they declare, and no other. A damaged document has some in another place."""
    found = find_references(profile(open_source(f"dump:{FIXTURES / 'published' / application}"), silent))
    pairs = {f"{each.collection}.{dotted(each.path)}": f"{each.target}.{dotted(each.target_path)}" for each in found}
    damaged = {name for name in pairs if name.startswith("Orders.shipping.") or name == "Accounts.groups"}
    assert {name: pairs[name] for name in pairs.keys() - damaged} == PUBLISHED[application]


def test_an_archive_gives_the_same_as_its_folder() -> None:
    """The order in which an archive interleaves collections does not matter."""
    folder, archive = (
        profile(open_source(f"dump:{FIXTURES / name}"), silent) for name in ("librechat", "librechat.archive.gz")
    )
    described = [
        [
            (each.name, each.documents, each.bytes, [(field.path, field.types) for field in each.walk()])
            for each in source.collections
        ]
        for source in (folder, archive)
    ]
    assert described[0] == described[1]
    assert find_references(folder) == find_references(archive)

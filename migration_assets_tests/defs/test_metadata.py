"""What stands at an asset: where it is, whose it is, where its code lies, and what it is."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.utils import is_valid_owner  # Dagster's own rule; not exported
from psycopg import conninfo

from migration_assets.defs import assets, tables
from migration_assets.defs.metadata import relation, target_address, target_database
from migration_assets.defs.tables import aurora_key, delta_key
from migration_assets.errors import SettingsError
from migration_assets.settings import Settings, load
from migration_assets_tests.defs.conftest import MakePipeline, Pipeline, week

SCHEMA = """
CREATE TABLE "Order Lines" (order_id INTEGER REFERENCES orders, line INTEGER, text TEXT,
    PRIMARY KEY (order_id, line));
CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE log (line TEXT);
INSERT INTO orders VALUES (1, 'a'), (2, 'b');
"""
SHARED = [dg.AssetKey("source_cut"), dg.AssetKey("aurora_schema")]
OWNERS = ["team:data", "ada@example.com"]
LINES = "Order Lines"
URL = "postgresql://loader:hunter2@db.example.com:5433/app?sslmode=require"


@pytest.fixture
def offline(make_offline: MakePipeline) -> Pipeline:
    """Return a pipeline of three tables whose target nobody can reach."""
    return make_offline(SCHEMA)


def metadata_of(pipeline: Pipeline, key: dg.AssetKey) -> dict[str, object]:
    """Return an asset's metadata as it is known before anything ran."""
    return dict(pipeline.definitions().resolve_asset_graph().get(key).metadata)


def text(metadata: dict[str, object], name: str) -> object:
    """Return one value of metadata."""
    found = metadata[name]
    return found.value if isinstance(found, dg.MetadataValue) else found


def test_a_copy_is_named_as_its_database_knows_it(offline: Pipeline) -> None:
    """Before the first load, and without connecting; both of Dagster's names for it."""
    offline.configure(target=URL, target_schema="crm")
    metadata = metadata_of(offline, aurora_key(LINES))
    assert text(metadata, "dagster/table_name") == "app.crm.order lines"
    assert text(metadata, "dagster/relation_identifier") == "app.crm.order lines"
    assert text(metadata, "dagster/uri") == "postgresql://db.example.com:5433/app"


def test_an_asset_says_where_it_is_without_user_or_password(offline: Pipeline) -> None:
    """The source as a file, the target as a server."""
    offline.configure(target=URL)
    graph = offline.definitions().resolve_asset_graph()
    everything = str([graph.get(key).metadata for key in graph.get_all_asset_keys()])
    assert "hunter2" not in everything
    assert "loader" not in everything
    source = text(metadata_of(offline, SHARED[0]), "dagster/uri")
    assert source == offline.source.resolve().as_uri()
    assert text(metadata_of(offline, SHARED[1]), "dagster/uri") == (
        "postgresql://db.example.com:5433/app"
    )


def settings_for(folder: Path, target: str) -> Settings:
    """Return settings with this target."""
    return Settings(source=folder / "app.sqlite", target=target)


@pytest.mark.parametrize(
    ("target", "database", "address"),
    [
        ("embedded", "aurora", ""),
        ("postgresql://u:p@h/app", "app", "postgresql://h/app"),
        ("host=h port=1 dbname=app user=u password=p", "app", "postgresql://h:1/app"),
        ("postgresql://u:p@h", "", "postgresql://h/"),
        ("postgresql:///app", "app", ""),
        ("mysql://h/app", "", ""),
    ],
)
def test_database_and_address_come_from_the_url_alone(
    tmp_path: Path, target: str, database: str, address: str
) -> None:
    """Where it names none, none is made up; a wrong URL is no reason not to load."""
    settings = settings_for(tmp_path, target)
    assert target_database(settings) == database
    found = target_address(settings)
    assert [value.value for value in found.values()] == ([address] if address else [])
    assert relation(database, "public", "t") == (f"{database}.public.t" if database else "public.t")


def test_every_asset_that_is_computed_links_to_its_code(offline: Pipeline) -> None:
    """File and line of the function that makes it, where the code lies now."""
    graph = offline.definitions().resolve_asset_graph()
    modules = {"source_cut": assets, "aurora_schema": assets}
    for key in graph.materializable_asset_keys:
        found = graph.get(key).metadata["dagster/code_references"]
        assert isinstance(found, dg.CodeReferencesMetadataValue)
        (link,) = found.code_references
        assert isinstance(link, dg.LocalFileCodeReference)
        module = modules.get(key.to_user_string(), tables)
        assert Path(link.file_path) == Path(str(module.__file__)).resolve()
        line = Path(link.file_path).read_text("utf-8").splitlines()[(link.line_number or 0) - 1]
        assert line.startswith("def ")
        assert link.label == f"migration_assets/defs/{Path(link.file_path).name}"


def test_owners_stand_at_every_asset(offline: Pipeline) -> None:
    """Those of the settings; nobody by default."""
    graph = offline.definitions().resolve_asset_graph()
    assert all(not graph.get(key).owners for key in graph.get_all_asset_keys())
    offline.configure(owners=OWNERS)
    graph = offline.definitions().resolve_asset_graph()
    assert all(list(graph.get(key).owners) == OWNERS for key in graph.get_all_asset_keys())


@pytest.mark.parametrize(
    "owner",
    [
        *("team:", "team:x", "team: ", "Team:x", "x", "", "a@b", "a@b.ch", "a@b.ch ", "a@b.c|"),
        *("a.b+c%d@e-f.co.uk", "a b@c.de", "ä@b.ch", "a@b.c0m", "a@b.toolongend", "a@b.ch\n"),
    ],
)
def test_owners_are_taken_and_refused_as_dagster_does(tmp_path: Path, owner: str) -> None:
    """By name and when settings are read, not as a failed code location."""
    fields = {"source": "a.sqlite", "target": "embedded", "owners": [owner]}
    (tmp_path / "migration.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    try:
        taken = load({}, tmp_path).owners == (owner,)
    except SettingsError:
        taken = False
    assert taken == is_valid_owner(owner)


def test_a_description_says_what_the_table_is(offline: Pipeline) -> None:
    """Its name at the source, how many columns, its key or that it has none."""
    graph = offline.definitions().resolve_asset_graph()
    said = {name: str(graph.get(aurora_key(name)).description) for name in (LINES, "orders", "log")}
    assert said[LINES].endswith(
        "Source table Order Lines: 3 columns, key (order_id, line), 1 foreign key."
    )
    assert said["orders"].endswith("Source table orders: 2 columns, key (id).")
    assert said["log"].endswith("Source table log: 1 column, no declared key.")
    assert "Source table log" in str(graph.get(delta_key("log")).description)


def test_tables_can_be_searched_by_tag(offline: Pipeline) -> None:
    """Those without a key, and those of a source."""
    graph = offline.definitions().resolve_asset_graph()
    for make in (aurora_key, delta_key):
        assert graph.get(make("log")).tags["migration/key"] == "none"
        assert graph.get(make("orders")).tags["migration/key"] == "declared"
        assert graph.get(make("orders")).tags["migration/source"] == "main"


def test_a_materialization_has_numbers_that_plot(make_pipeline: MakePipeline) -> None:
    """Rows by operation, seconds by stage, and the bytes of what was stored."""
    pipeline = make_pipeline(SCHEMA)
    assert pipeline.run(1).success
    pipeline.change("INSERT INTO orders VALUES (3, 'c'); UPDATE orders SET note = 'x' WHERE id < 3")
    found = pipeline.materialized(pipeline.run(2).run_id)
    copy = {name: value.value for name, value in found["aurora/orders"].items()}
    assert (copy["inserted"], copy["updated"], copy["deleted"], copy["quarantined"]) == (1, 2, 0, 0)
    stages = {name for name in copy if name.startswith("seconds_until_")}
    assert stages >= {"seconds_until_staged", "seconds_until_proved", "seconds_until_committed"}
    assert all(isinstance(copy[name], float) for name in stages)
    delta = {name: value.value for name, value in found["delta/orders"].items()}
    assert (delta["inserts"], delta["updates"], delta["deletes"]) == (1, 2, 0)
    folder = pipeline.config.parent / "state/deltas/main/orders" / str(week(2))
    stored = sum(file.stat().st_size for file in folder.glob("*.parquet"))
    assert delta["size_bytes"] == stored > 0
    assert found["source_cut"]["size_bytes"].value == pipeline.source.stat().st_size


def test_a_load_says_the_name_that_stands(make_pipeline: MakePipeline) -> None:
    """As the sealed mapping has it, with the database it really went to."""
    pipeline = make_pipeline(SCHEMA)
    found = pipeline.materialized(pipeline.run(1).run_id)["aurora/" + aurora_key(LINES).path[-1]]
    database = conninfo.conninfo_to_dict(pipeline.target)["dbname"]
    assert found["dagster/table_name"].value == f"{database}.public.order lines"

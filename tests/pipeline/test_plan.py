"""A pipeline's YAML is data: ordered, checked, fingerprinted."""

from pathlib import Path

import pytest

from echokdm.core.errors import ConfigError
from echokdm.pipeline.options import KINDS
from echokdm.pipeline.plan import read_pipeline

SHIPPED = sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml"))


def fingerprints(pipeline) -> dict[str, str]:
    return {step.name: step.fingerprint for step in pipeline.steps}


def test_stages_run_after_what_they_read(maker) -> None:
    backwards = dict(reversed(maker.stages.items()))
    maker.stages = backwards
    order = [step.name for step in maker.read().steps]
    assert order == ["ingest", "keypoints", "train", "augment", "report"]
    needs = {step.name: set(step.needs) for step in maker.read().steps}
    assert (
        needs["augment"] == {"keypoints", "train"} and needs["report"] == set(order) - {"report"} and not needs["train"]
    )


def test_a_changed_value_changes_what_follows_from_it_alone(maker) -> None:
    before = fingerprints(maker.read())
    assert fingerprints(maker.read()) == before
    changed = fingerprints(maker.read(["stages.augment.per_clip=3"]))
    assert {name for name in before if before[name] != changed[name]} == {"augment", "report"}
    changed = fingerprints(maker.read(keypoints={"split": "50/25/25"}))
    assert {name for name in before if before[name] != changed[name]} == {"keypoints", "augment", "report"}
    (maker.folder / "train.yaml").write_text("method: kdm\nseed: 4\n")
    changed = fingerprints(maker.read())
    assert {name for name in before if before[name] != changed[name]} == {"train", "augment", "report"}
    assert set(fingerprints(maker.read(["seed=1"])).values()).isdisjoint(before.values())


def test_a_changed_folder_is_seen(maker) -> None:
    folder = maker.folder / "clips"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"a")
    before = fingerprints(maker.read(ingest={"source": str(folder)}))
    (folder / "b.dcm").write_bytes(b"b")
    assert fingerprints(maker.read(ingest={"source": str(folder)}))["ingest"] != before["ingest"]


def test_two_stages_of_one_kind(maker) -> None:
    pipeline = maker.read(**{"augment-low": {"kind": "augment", "ef": "uniform:20-35"}})
    assert [step.kind for step in pipeline.steps].count("augment") == 2


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ({"augment": {"per_clp": 2}}, "unknown key 'per_clp'; did you mean 'per_clip'"),
        ({"agument": {}}, "unknown stage 'agument'; did you mean 'augment'"),
        ({"ingest": {"source": "augment"}}, "wait for each other"),
        ({"ingest": {"source": "nowhere/export"}}, "something as its source that is neither"),
        ({"ingest": {"source": "phantom-haert:3"}}, "phantom-heart"),
        ({"ingest": {"source": "echonet-dynamic:nowhere/data"}}, "from a folder that does not exist"),
        ({"train": {"config": "nowhere.yaml"}}, "something as its config that is neither"),
        ({"augment": {"bundle": "no-bundle"}}, "'no-bundle'"),
        ({"augment": {"per_clip": "many"}}, "per_clip"),
        ({"Bad Name": {"kind": "report"}}, "small letters"),
        ({"train": {}}, "config"),
    ],
)
def test_faults_are_told_in_one_sentence(maker, stages: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        maker.read(**stages)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "stages: {report: !!python/object/apply:os.system ['true']}",
        "- a\n- b",
        "name: a/../b\nstages: {report: }",
        "name: x\nstages: {}",
        "name: x\nimport: os\nstages: {report: }",
        "",
    ],
)
def test_a_yaml_is_data(maker, text: str) -> None:
    with pytest.raises(ConfigError):
        read_pipeline(maker.write(text))


def test_paths_of_what_is_missing_are_not_told(maker) -> None:
    with pytest.raises(ConfigError) as error:
        maker.read(ingest={"source": "/export/doe^jane/study"})
    assert "doe" not in str(error.value)


def test_no_path_stands_in_a_recipe(maker) -> None:
    """Of what is there the content counts; of what is not the stage will say so."""
    (maker.folder / "doe^jane").mkdir()
    values = {
        "data": {"root": str(maker.folder / "doe^jane"), "cache": "doe^jane"},
        "segmenter": {"outlined": "camus:/export/doe^jane"},
    }
    recipes = []
    for content in (b"a", b"ab"):
        (maker.folder / "doe^jane" / "a.dcm").write_bytes(content)
        steps = maker.read(train={"config": str(maker.folder / "train.yaml"), "set": values}).steps
        recipes.append(str([step.recipe for step in steps]))
    assert not any("doe" in recipe for recipe in recipes) and recipes[0] != recipes[1]
    assert "70/15/15" in recipes[0]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_pipelines_are_valid(path: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(path.parents[1])
    places = {"a4c-dicom": str(tmp_path), "a4c-echonet": f"echonet-dynamic:{tmp_path}", "camus": f"camus:{tmp_path}"}
    overrides = [f"stages.ingest.source={places[path.stem]}"] if path.stem in places else []
    pipeline = read_pipeline(path, overrides)
    assert pipeline.name == path.stem and pipeline.steps[-1].kind == "report"
    for step in pipeline.steps:
        if step.kind == "train":
            from echokdm.core.config import load_config, read_values
            from echokdm.methods.base import find_method
            from echokdm.pipeline.stages import overrides_of

            method = find_method(read_values(Path(step.options.config))["method"])
            load_config(Path(step.options.config), method.config, overrides_of(step.options.values))


def test_all_seven_are_shipped() -> None:
    assert [path.stem for path in SHIPPED] == [
        "a4c-dicom",
        "a4c-echonet",
        "a4c-phantom-smoke",
        "camus",
        "face",
        "motion-transfer",
        "pose",
    ]


def test_every_option_is_documented() -> None:
    rows = {
        line.split("`")[1]: line
        for line in (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text().splitlines()
        if line.startswith("| `")
    }
    for kind, options in KINDS.items():
        names = {field.alias or name for name, field in options.model_fields.items()} - {"kind"}
        assert all(f"`{name}`" in rows[kind] for name in names), kind


@pytest.mark.parametrize(
    ("ingest", "said"),
    [
        ({"source": "dicomweb:https://pacs.example/dicom-web?PatientID=KOWALSKI"}, "needs a secret"),
        ({"source": "dicomweb:https://pacs.example/dicom-web", "salt": "SALT"}, r"dicomweb:URL\?KEYWORD=VALUE"),
        (
            {"source": "dicomweb:dimse://A@pacs.example:104?PatientID=KOWALSKI", "salt": "SALT"},
            r"dicomweb:URL\?KEYWORD=VALUE",
        ),
        ({"source": "dicomweb:https://KOWALSKI:geheim@pacs.example", "salt": "SALT"}, "ends in logs"),
    ],
)
def test_an_archive_is_asked_with_a_query_and_a_salt(maker, ingest: dict[str, str], said: str) -> None:
    (maker.folder / "salt.bin").write_bytes(b"salt of a test, long")
    if "salt" in ingest:
        ingest = ingest | {"salt": str(maker.folder / "salt.bin")}
    with pytest.raises(ConfigError, match=said) as caught:
        maker.read(ingest=ingest)
    assert "KOWALSKI" not in str(caught.value) and "geheim" not in str(caught.value)


def test_the_url_of_an_archive_is_in_no_recipe(maker) -> None:
    (maker.folder / "salt.bin").write_bytes(b"salt of a test, long")
    source = "dicomweb:https://pacs.example/dicom-web?PatientID=KOWALSKI"
    steps = [
        maker.read(ingest={"source": f"{source}{more}", "salt": str(maker.folder / "salt.bin")}).steps[0]
        for more in ("", "2")
    ]
    assert steps[0].fingerprint != steps[1].fingerprint and "KOWALSKI" not in str(steps[0].recipe) + str(
        steps[1].recipe
    )

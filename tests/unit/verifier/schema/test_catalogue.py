"""The catalogue: where schemas are found, which version is used, which are bundled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loraform_verifier.schema.catalogue import VARIABLE, Catalogue, default, schema_paths, source_of
from loraform_verifier.schema.compact import SchemaError

from .schema_maker import write


def test_types_are_found_by_kind_and_name(tmp_path: Path) -> None:
    write(tmp_path)
    catalogue = Catalogue([tmp_path])
    assert catalogue.find("resource", "toy_machine") is not None
    assert catalogue.find("data", "toy_image") is not None
    assert catalogue.find("ephemeral", "toy_token") is not None
    assert catalogue.find("data", "toy_machine") is None
    assert catalogue.find("resource", "other_machine") is None


def test_the_newest_version_counts_wherever_it_is(tmp_path: Path) -> None:
    old = write(tmp_path, "1.9.0")
    new = write(tmp_path, "1.10.0", schema={})
    for paths in ([old, new], [new, old], [tmp_path]):
        catalogue = Catalogue(paths)
        assert catalogue.versions == {"hashicorp/toy": "1.10.0"}
        assert catalogue.find("resource", "toy_machine") is None


def test_a_given_version_is_the_only_accepted_one(tmp_path: Path) -> None:
    write(tmp_path, "1.9.0")
    write(tmp_path, "1.10.0")
    assert Catalogue([tmp_path], {"hashicorp/toy": "1.9.0"}).versions == {"hashicorp/toy": "1.9.0"}
    assert Catalogue([tmp_path], {"hashicorp/toy": "2.0.0"}).versions == {}
    assert Catalogue([tmp_path], {"hashicorp/other": "1.0.0"}).versions == {"hashicorp/toy": "1.10.0"}


def test_names_with_hyphens_and_other_namespaces_are_distinct(tmp_path: Path) -> None:
    write(tmp_path, source="my-org/google-beta")
    assert Catalogue([tmp_path]).versions == {"my-org/google-beta": "1.2.3"}


def test_other_files_are_ignored_in_a_folder_and_refused_by_path(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("words")
    assert Catalogue([tmp_path]).versions == {}
    with pytest.raises(SchemaError, match="NAMESPACE_TYPE_VERSION"):
        Catalogue([tmp_path / "README.md"])
    with pytest.raises(SchemaError, match="does not exist"):
        Catalogue([tmp_path / "nothing"])


def test_a_broken_file_is_named_on_the_first_request_for_its_provider(tmp_path: Path) -> None:
    path = tmp_path / "hashicorp_toy_1.0.0.jsonl.xz"
    path.write_bytes(b"no xz")
    catalogue = Catalogue([tmp_path])
    assert catalogue.find("resource", "aws_vpc") is None
    with pytest.raises(SchemaError, match=r"hashicorp_toy_1\.0\.0"):
        catalogue.find("resource", "toy_machine")


def test_a_file_with_another_provider_than_its_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path).rename(tmp_path / "hashicorp_doll_1.2.3.jsonl.xz")
    with pytest.raises(SchemaError, match=r"it holds hashicorp/toy 1\.2\.3"):
        Catalogue([tmp_path]).find("resource", "doll_machine")


def test_the_environment_adds_folders_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    write(one, source="hashicorp/toy")
    path = write(two, source="hashicorp/doll")
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(one), str(path)]))
    assert {"hashicorp/aws", "hashicorp/toy", "hashicorp/doll"} <= Catalogue(schema_paths()).versions.keys()


def test_local_names_default_to_hashicorp_and_built_in_providers() -> None:
    assert source_of("aws") == "hashicorp/aws"
    assert source_of("terraform") == "builtin/terraform"


def test_the_bundled_schemas_include_aws() -> None:
    aws = default().local("aws")
    assert aws is not None
    assert (aws.source, aws.version) == ("hashicorp/aws", "5.100.0")
    assert [len(list(aws.types(kind))) for kind in ("resource", "data", "ephemeral")] == [1526, 608, 7]
    assert default().find("resource", "terraform_data") is not None
    assert all(aws.find(kind, name) for kind in ("resource", "data", "ephemeral") for name in aws.types(kind))


def test_schemas_are_read_on_first_use() -> None:
    program = (
        "from loraform_verifier.policy import taggable\n"
        "from loraform_verifier.schema import catalogue\n"
        "found = catalogue.default()\n"
        "assert catalogue.default.cache_info().currsize == 1 and not catalogue.read_schema_file.cache_info().currsize\n"
        "taggable.tagging_of('aws_vpc')\n"
        "assert catalogue.read_schema_file.cache_info().misses == 1\n"
        "found.provider('hashicorp/aws')\n"
        "assert catalogue.read_schema_file.cache_info().misses == 1, 'what was read is another schema'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_catalogues_share_loaded_schemas() -> None:
    assert Catalogue(schema_paths(), {"hashicorp/aws": "5.100.0"}).local("aws") is default().local("aws")

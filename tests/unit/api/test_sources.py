from loraform_api.sources import SOURCE_KINDS, Access, DataSource


def test_the_kinds_of_sources_are_the_fields_that_name_one() -> None:
    fields = DataSource.model_fields
    assert tuple(f.alias for name, f in fields.items() if name not in ("name", "file_format")) == SOURCE_KINDS


def test_access_is_that_of_the_remote_source() -> None:
    remote = DataSource.model_validate({"name": "rows", "oci": {"reference": "r/x@sha256:" + "a" * 64, "path": "x"}})
    assert isinstance(remote.access, Access)
    local = DataSource.model_validate({"name": "rows", "configMap": {"name": "rows", "key": "x"}})
    assert local.access is None

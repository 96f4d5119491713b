"""Our Java for Flink: compiled where it is used."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from insights import jars, java
from insights.java import CompileFailed, compiled
from insights.settings import load_settings
from insights.wiring import flink_home


@pytest.fixture(scope="module")
def compiler() -> Path:
    folder = load_settings().jars
    jars.fetch(folder, parts=("flink", "compiler"))
    return jars.of_part("compiler", folder)[0]


@pytest.fixture
def class_path() -> list[Path]:
    return [*jars.of_part("flink", load_settings().jars), *flink_home().glob("lib/*.jar")]


def test_the_jar_has_every_class_and_names_the_connector_to_flink_and_is_made_once(
    compiler: Path, class_path: list[Path], tmp_path: Path
) -> None:
    (tmp_path / f"{java.PREFIX}old.jar").touch()
    jar = compiled(compiler, class_path, tmp_path)
    assert list(tmp_path.iterdir()) == [jar]
    with zipfile.ZipFile(jar) as archive:
        names = set(archive.namelist())
        factories = archive.read("META-INF/services/org.apache.flink.table.factories.Factory").decode().split()
    assert {f"{factory.replace('.', '/')}.class" for factory in factories} <= names
    made = jar.stat()
    assert compiled(compiler, class_path, tmp_path).stat() == made


def test_java_that_does_not_fit_flink_is_refused_with_the_compilers_words(compiler: Path, tmp_path: Path) -> None:
    with pytest.raises(CompileFailed, match=r"import org\.apache cannot be resolved"):
        compiled(compiler, [], tmp_path)
    assert list(tmp_path.iterdir()) == []

"""A data folder becomes one encrypted file, and the file the same folder; or nothing is written, and why is said."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from insights.backup.about import ABOUT, FILES, FORMAT, BackupBroken
from insights.backup.keys import new_key
from insights.backup.read import check, restore
from insights.backup.write import Target
from insights.cli.main import app
from insights.settings import PROJECT, Settings
from schemas.errors import InsightsError, Misconfigured
from tests.conftest import own_settings

Tree = dict[str, tuple[int, bytes | None]]
NAMES = st.text("ab.ü -", min_size=1, max_size=8).filter(lambda name: name.strip(". ") != "")
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def quiet(done: int, of: int) -> None:
    assert done <= of


def tree(folder: Path) -> Tree:
    """Each file's and folder's mode, and each file's content."""
    found = sorted(path for path in folder.rglob("*") if path.relative_to(folder).parts[0] != "run")
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mode & 0o777,
            path.read_bytes() if path.is_file() else None,
        )
        for path in found
    }


@pytest.fixture
def stack(tmp_path: Path) -> Settings:
    """A folder with a bit of what a stack has."""
    made = own_settings(tmp_path / "home")
    for inside in (
        "run",
        "logs",
        "conf",
        "flink/tmp",
        "flink/client",
        "flink/snapshots/x",
        "postgres/pg_notify",
        "lake/events",
    ):
        (made.home / inside).mkdir(parents=True)
    (made.home / "postgres").chmod(0o700)
    (made.home / "postgres" / "PG_VERSION").write_text("18\n")
    (made.home / "lake" / "events" / "a.parquet").write_bytes(os.urandom(3_000_000))
    (made.home / "lake" / "events" / "b.parquet").hardlink_to(made.home / "lake" / "events" / "a.parquet")
    (made.home / "logs" / "kafka.out").write_text("long")
    (made.home / "conf" / "secret").write_text("made again at each start")
    (made.home / "time-zone.json").write_text("{}")
    (made.home / "flink" / "client" / "held").write_text("starting over")  # without which half a rebuild would resume
    return made


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    file = tmp_path / "backup.key"
    return file, new_key(file)


@pytest.fixture
def made(stack: Settings, key: tuple[Path, str], tmp_path: Path) -> Path:
    file = tmp_path / "backup.age"
    Target(stack, file, key[1]).write(stack, quiet)
    return file


def gone(stack: Settings) -> None:
    stack.home.rename(stack.home.with_name("before"))


def test_what_is_restored_is_what_was_backed_up_without_logs_and_what_each_start_makes(
    stack: Settings, made: Path, key: tuple[Path, str]
) -> None:
    before = {
        name: kept for name, kept in tree(stack.home).items() if not name.startswith(("logs", "conf", "flink/tmp"))
    }
    gone(stack)
    about = restore(made, key[0], stack.home, quiet)
    assert tree(stack.home) == before
    assert (about.files, about.home, about.elsewhere) == (5, str(stack.home), [])
    assert about.bytes == sum(len(content or b"") for _, content in before.values())
    assert sorted(path.name for path in stack.home.parent.iterdir()) == ["backup.age", "backup.key", "before", "home"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=2000), max_size=6)
)
def test_any_folder_comes_back(files: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    here = own_settings(folder / "home")
    (here.home / "run").mkdir(parents=True)
    for name, content in files.items():
        path = here.home / "data" / name
        if not any(parent.is_file() for parent in path.parents) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    before = tree(here.home)
    public = new_key(folder / "key")
    Target(here, folder / "file", public).write(here, quiet)
    gone(here)
    restore(folder / "file", folder / "key", here.home, quiet)
    assert tree(here.home) == before


def test_a_backup_says_nothing_to_who_lacks_the_key(made: Path, stack: Settings, tmp_path: Path) -> None:
    assert b"PG_VERSION" not in made.read_bytes()
    other = tmp_path / "other.key"
    new_key(other)
    gone(stack)
    with pytest.raises(BackupBroken, match="can't be decrypted with this key"):
        restore(made, other, stack.home, quiet)
    assert not stack.home.exists()
    assert (tmp_path / "backup.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_backup_that_was_cut_is_refused_and_leaves_nothing(
    made: Path, stack: Settings, key: tuple[Path, str], share: float
) -> None:
    whole = made.read_bytes()
    made.write_bytes(whole[: int(len(whole) * share)])
    gone(stack)
    with pytest.raises(BackupBroken, match="not whole|failed to fill whole buffer"):
        restore(made, key[0], stack.home, quiet)
    assert sorted(path.name for path in stack.home.parent.iterdir()) == ["backup.age", "backup.key", "before"]


def test_a_byte_that_changed_is_found_also_by_a_check_which_writes_nothing(
    made: Path, stack: Settings, key: tuple[Path, str]
) -> None:
    assert check(made, key[0], quiet).files == 5
    content = bytearray(made.read_bytes())
    content[len(content) // 2] ^= 1
    made.write_bytes(content)
    before = tree(stack.home.parent)
    with pytest.raises(BackupBroken, match="not whole"):
        check(made, key[0], quiet)
    assert tree(stack.home.parent) == before


def archive(file: Path, public: str, about: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """One as somebody else would write it who knows the public key."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in {ABOUT: json.dumps(about).encode(), **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    compressed = zstandard.ZstdCompressor().compress(packed.getvalue())
    file.write_bytes(pyrage.encrypt(compressed, [pyrage.x25519.Recipient.from_str(public)]))


def test_what_does_not_hold_what_it_lists_or_leads_elsewhere_is_refused(
    stack: Settings, key: tuple[Path, str], tmp_path: Path
) -> None:
    gone(stack)
    about = {
        "format": FORMAT,
        "home": str(stack.home),
        "mode": 0o755,
        "made_at": "",
        "files": 1,
        "bytes": 2,
        "elsewhere": [],
    }
    listed = json.dumps({"a": hashlib.sha256(b"ab").hexdigest()}).encode()
    cases: dict[str, tuple[Mapping[str, Any], Mapping[str, bytes]]] = {
        "are not those that were put in": (about, {"data/a": b"ax", FILES: listed}),
        "is not whole": (about, {"data/a": b"ab"}),
        "'data/../../a', which is not a file or folder of": (about, {"data/../../a": b"ab", FILES: listed}),
        f"{stack.home}/.restoring-.*{tmp_path}/a can't be written": (
            about,
            {f"data/{tmp_path}/a": b"ab", FILES: listed},
        ),
        "'b/a', which is not": (about, {"b/a": b"ab", FILES: listed}),
        "has format 7; this release reads format 1": (about | {"format": 7}, {}),
        "is not a backup of a data folder": (about, {}),
        "restore it there: INSIGHTS_HOME=/elsewhere": (about | {"home": "/elsewhere"}, {}),
        "the backup needs 1,000,000,000,000 MB": (about | {"bytes": 10**18}, {}),
    }
    for number, (text, (said, members)) in enumerate(cases.items()):
        file = tmp_path / f"{number}.age"
        archive(file, key[1], said, members)
        if text == "is not a backup of a data folder":
            packed = io.BytesIO()
            tarfile.open(fileobj=packed, mode="w").close()
            compressed = zstandard.ZstdCompressor().compress(packed.getvalue())
            file.write_bytes(pyrage.encrypt(compressed, [pyrage.x25519.Recipient.from_str(key[1])]))
        with pytest.raises(InsightsError, match=text):
            restore(file, key[0], stack.home, quiet)
        assert not stack.home.exists()
    assert not (tmp_path / "a").exists()


def test_a_folder_that_holds_something_is_left_as_it_is(stack: Settings, made: Path, key: tuple[Path, str]) -> None:
    before = tree(stack.home)
    with pytest.raises(Misconfigured, match="is not empty: a backup is only restored into an empty folder"):
        restore(made, key[0], stack.home, quiet)
    assert tree(stack.home) == before


@pytest.mark.parametrize(
    ("target", "to", "text"),
    [
        ("backup.key", None, "exists; name a new file"),
        ("home/lake/backup.age", None, "lies in the data folder"),
        ("nowhere/backup.age", None, "can't be written: No such file or directory"),
        ("new.age", "age1nonsense", "is not a public key"),
    ],
)
def test_a_backup_that_could_not_be_written_is_refused_before_anything_stops(
    stack: Settings, key: tuple[Path, str], tmp_path: Path, target: str, to: str | None, text: str
) -> None:
    with pytest.raises(Misconfigured, match=text):
        Target(stack, tmp_path / target, to or key[1])


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_a_backup_could_not_be_restored_with_is_named_before_anything_stops(
    stack: Settings, key: tuple[Path, str], tmp_path: Path, kind: str
) -> None:
    odd = stack.home / "lake" / "odd"
    odd.symlink_to("/elsewhere") if kind == "link" else os.mkfifo(odd)
    with pytest.raises(Misconfigured, match=f"{odd} is neither a file nor a folder"):
        Target(stack, tmp_path / "b.age", key[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.key", "home"]


def test_what_another_backup_or_restore_writes_is_left_alone(
    stack: Settings, made: Path, key: tuple[Path, str], tmp_path: Path
) -> None:
    (tmp_path / "b.age.part").write_text("half")
    with pytest.raises(Misconfigured, match=r"b.age.part exists: another backup writes it"):
        Target(stack, tmp_path / "b.age", key[1])
    assert (tmp_path / "b.age.part").read_text() == "half"
    gone(stack)
    (stack.home / ".restoring-1").mkdir(parents=True)
    with pytest.raises(Misconfigured, match="is not empty"):
        restore(made, key[0], stack.home, quiet)
    assert (stack.home / ".restoring-1").exists()


def test_a_file_that_changes_while_it_is_copied_ends_the_backup(
    stack: Settings, key: tuple[Path, str], tmp_path: Path
) -> None:
    """Something still writes: what was copied may be torn, and its checksum would be that of the torn bytes."""
    growing = stack.home / "lake" / "events" / "a.parquet"

    def writes(done: int, of: int) -> None:
        with growing.open("ab") as file:
            file.write(b"more")

    target = Target(stack, tmp_path / "b.age", key[1])
    with pytest.raises(Misconfigured, match="changed while it was copied: something still writes"):
        target.write(stack, writes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.key", "home"]


def test_a_private_key_is_not_taken_for_the_public_one_nor_repeated(
    stack: Settings, key: tuple[Path, str], tmp_path: Path
) -> None:
    private = key[0].read_text().split()[-1]
    with pytest.raises(Misconfigured, match="that is a private key") as refusal:
        Target(stack, tmp_path / "b.age", private)
    assert private not in str(refusal.value)


def test_an_older_key_in_the_file_still_opens_its_backups(
    stack: Settings, made: Path, key: tuple[Path, str], tmp_path: Path
) -> None:
    new_key(tmp_path / "new.key")
    (tmp_path / "both.key").write_text((tmp_path / "new.key").read_text() + key[0].read_text())
    assert check(made, tmp_path / "both.key", quiet).home == str(stack.home)


def test_a_full_disk_leaves_nothing_of_the_backup(stack: Settings, key: tuple[Path, str], tmp_path: Path) -> None:
    """The kernel ends a file at a megabyte here, as a full disk does."""
    environment = {**os.environ, "INSIGHTS_HOME": str(stack.home), "INSIGHTS_BACKUP_KEY": key[1]}
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -f 1024; exec {sys.executable} -m insights backup {tmp_path / 'b.age'}"],
        env=environment, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{tmp_path / 'b.age'} can't be written: File too large. Nothing is left of it" in " ".join(
        done.stderr.split()
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.key", "home"]


def test_a_key_is_never_overwritten_and_a_wrong_one_is_named(stack: Settings, made: Path, tmp_path: Path) -> None:
    kept = (tmp_path / "backup.key").read_text()
    with pytest.raises(Misconfigured, match="A key is never overwritten"):
        new_key(tmp_path / "backup.key")
    assert (tmp_path / "backup.key").read_text() == kept
    (tmp_path / "wrong.key").write_text("# nothing\n")
    gone(stack)
    with pytest.raises(Misconfigured, match="wrong.key is not a file of private keys"):
        restore(made, tmp_path / "wrong.key", stack.home, quiet)


def test_the_commands_say_what_was_written_and_how_it_is_read_again(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHTS_HOME", str(stack.home))
    invoke: Callable[..., Any] = CliRunner().invoke
    no_key = invoke(app, ["backup", str(tmp_path / "b.age")])
    assert no_key.exit_code == 1
    assert "name the public key to encrypt for" in no_key.stderr
    public = invoke(app, ["backup-key", str(tmp_path / "k")]).stdout.split()[-1]
    written = invoke(app, ["backup", str(tmp_path / "b.age"), "--to", public])
    assert written.exit_code == 0, written.output
    assert "b.age has 5 files of" in " ".join(written.stdout.split())
    checked = invoke(app, ["restore", str(tmp_path / "b.age"), "--key", str(tmp_path / "k"), "--check"])
    assert "The backup is whole: 5 files" in checked.stdout
    gone(stack)
    restored = invoke(app, ["restore", str(tmp_path / "b.age"), "--key", str(tmp_path / "k")])
    assert "Restored: 5 files" in restored.stdout, restored.output


def test_the_unit_is_one_that_systemd_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path / "my 100% shop"))
    unit = CliRunner().invoke(app, ["systemd-unit"]).stdout
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert lines["Environment"] == f'"INSIGHTS_HOME={tmp_path}/my 100%% shop"'
    assert lines["ExecStart"] == f'"{sys.executable}" -m insights up --foreground'
    assert lines["WorkingDirectory"] == str(PROJECT)
    (tmp_path / "insights-hub.service").write_text(unit)
    try:
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--user", str(tmp_path / "insights-hub.service")],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("no systemd here")
    assert "insights-hub.service:" not in verified.stderr, verified.stderr

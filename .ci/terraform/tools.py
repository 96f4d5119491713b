"""Programs that `make check-terraform` needs, built or read once into .tools/."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from schema import schema

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLS = ROOT / ".tools"
TOFU = TOOLS / "tofu"
TFLINT = TOOLS / "tflint"
CHECKOV = ROOT / ".venv-terraform" / "bin" / "checkov"
PIP = (ROOT / ".venv-tools" / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
TFLINT_RELEASE = "github.com/terraform-linters/tflint@v0.64.0"
PROVIDER = "6.69.1"
LOCK = ROOT / "requirements" / "provider.txt"
# Folder, program, package.
GO_MODULES = (
    (HERE / "tools", "tofu", "github.com/opentofu/opentofu/cmd/tofu"),
    (HERE / "provider", "terraform-provider-aws", "."),
)


class Failed(Exception):
    """The text is for people: what was run, and what it said."""


def run(command: Sequence[object], folder: Path, **environment: str) -> str:
    """What it prints. Raises Failed with it when it ends badly."""
    done = subprocess.run(  # noqa: S603
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command).replace(f"{ROOT}/", "")
        said = (done.stdout + done.stderr).strip()
        raise Failed(f"{shown}\n{said[said.find('Error:') :] if 'Error:' in said else said}")
    return done.stdout


def make_tools() -> None:
    """Build what is not there. Raises Failed where Go is missing."""
    if not shutil.which("go"):
        raise Failed("Go is not on the path, which OpenTofu and tflint are built with: https://go.dev/dl")
    TOOLS.mkdir(exist_ok=True)
    for module, program, package in GO_MODULES:
        sources = sorted(file for file in module.iterdir() if file.suffix in (".go", ".mod", ".sum"))
        make(program, sources, ["go", "build", "-buildvcs=false", "-o", TOOLS / program, package], module)
    make("tflint", [Path(__file__)], ["go", "install", TFLINT_RELEASE], ROOT)
    make("aws.json", [LOCK, HERE / "schema.py"], [sys.executable, __file__], ROOT)
    mirror = TOOLS / "mirror" / "registry.opentofu.org" / "hashicorp" / "aws" / PROVIDER / platform()
    mirror.mkdir(parents=True, exist_ok=True)
    shutil.copy(TOOLS / "terraform-provider-aws", mirror / f"terraform-provider-aws_v{PROVIDER}")


def make(name: str, sources: Sequence[Path], command: Sequence[object], folder: Path) -> None:
    """Run the command unless it was run for these sources, which a stamp beside what it makes knows."""
    stamp, digest = TOOLS / f"{name}.made-of", hashlib.sha256(b"".join(of.read_bytes() for of in sources)).hexdigest()
    if not (TOOLS / name).exists() or not stamp.exists() or stamp.read_text() != digest:
        print(f"==> making {name}", file=sys.stderr, flush=True)
        run(command, folder, GOBIN=str(TOOLS))
        stamp.write_text(digest)


def read_schema() -> None:
    """Download the wheel that is locked, and write what schema.py reads from it."""
    with tempfile.TemporaryDirectory() as folder:
        run([*PIP, "download", "--quiet", "--require-hashes", "--no-deps", "-r", LOCK, "--dest", folder], ROOT)
        (wheel,) = Path(folder).glob("*.whl")
        (TOOLS / "aws.json").write_text(json.dumps(schema(wheel)))


def platform() -> str:
    """As providers are named: linux_amd64."""
    return "_".join(run(["go", "env", "GOOS", "GOARCH"], ROOT).split())


if __name__ == "__main__":
    read_schema()

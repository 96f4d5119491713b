"""`make check-terraform`: terraform/ held to the AWS provider's schema, and to rules about AWS, without AWS.

``--prove`` instead makes mistakes in copies of terraform/ and says whether each is found.

Needs Go, and once some ten minutes to build OpenTofu and tflint into .tools/. OpenTofu itself formats, validates and
applies, to a stand-in of the AWS provider (.ci/terraform/provider) that has the real one's schema and makes up what AWS
would answer. The policies are read from what was applied, where every name in them is filled in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fit import unfit
from policies import too_much
from tools import CHECKOV, HERE, ROOT, TFLINT, TOFU, TOOLS, Failed, make_tools, run

TERRAFORM = ROOT / "terraform"
# What is nobody's but a deployment's own, for the stand-in.
OWN = """
region          = "eu-central-1"
release         = "v1"
domain          = "insights.example.com"
certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/one"
authority       = "authority.pem"
viewers         = ["203.0.113.0/24"]
emails          = ["shop@example.com"]
settings        = { INSIGHTS_CURRENCY = "USD" }
secrets         = { INSIGHTS_ALERT_SLACK_URL = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:slack" }
"""
INSTALLATION = 'provider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n'
LOCAL_STATE = 'terraform {\n  backend "local" {}\n}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One that must be found: in ``file``, ``good`` becomes ``bad``, and then the check ``by`` says ``found``."""

    name: str
    file: str
    good: str
    bad: str
    found: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What is applied as a whole."""

    name: str
    folder: str = "."
    variables: tuple[str, ...] = ()


REGION = ("-var=region=eu-central-1",)
CONFIGURATIONS = (
    Configuration(name="bootstrap", folder="bootstrap", variables=REGION),
    Configuration(name="github", folder="bootstrap", variables=(*REGION, "-var=github_repository=shop/insights")),
    Configuration(name="dev", variables=("-var-file=dev.tfvars",)),
    Configuration(name="prod", variables=("-var-file=prod.tfvars",)),
    Configuration(name="managed", variables=("-var-file=prod.tfvars", "-var=is_stream_managed=true")),
)


# Modules with tests of their own, in tests/*.tftest.hcl.
TESTED = sorted(folder.parent.name for folder in TERRAFORM.glob("modules/*/tests"))


def main(arguments: Sequence[str]) -> int:
    """0 when all is well."""
    make_tools()
    if arguments == ["--prove"]:
        return prove()
    with tempfile.TemporaryDirectory() as folder:
        failures = problems(steps(copied_to(folder)).values())
    print("\n\n".join(failures) if failures else "terraform/ is as it should be")
    return 1 if failures else 0


def steps(terraform: Path) -> dict[str, Callable[[], object]]:
    """What each check is called, and what makes it. Each raises Failed."""
    fmt = [TOFU, "fmt", "-check", "-recursive", "-diff"]
    return {
        "format": lambda: run(fmt, terraform, TF_CLI_CONFIG_FILE=os.devnull),
        **{of.name: partial(applied, terraform, of) for of in CONFIGURATIONS},
        **{f"tests of {module}": partial(tested, terraform, module) for module in TESTED},
        "tflint": lambda: tflint(terraform),
        "checkov": lambda: checkov(terraform),
    }


def problems(checks: Iterable[Callable[[], object]]) -> list[str]:
    """Everything that they say. Blocks for a minute and a half, for all of them."""
    found = []
    for check in checks:
        try:
            check()
        except Failed as failure:
            found.append(str(failure))
    return found


# The checks ----------------------------------------------------------------------------------------------------------


def copied_to(folder: str) -> Path:
    """A copy of terraform/ without what runs left in it, and with what is only a deployment's own."""
    copy = Path(folder) / "terraform"
    shutil.copytree(TERRAFORM, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "own.auto.tfvars"))
    (copy / "own.auto.tfvars").write_text(OWN.lstrip())
    (copy / "authority.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    return copy


@contextmanager
def copied(terraform: Path) -> Iterator[Path]:
    """A copy that keeps its state beside it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "terraform"
        shutil.copytree(terraform, copy)
        (copy / "local_override.tf").write_text(LOCAL_STATE)
        yield copy


def applied(terraform: Path, of: Configuration) -> None:
    """One configuration validated, and applied to the stand-in. Raises Failed."""
    with copied(terraform) as copy:
        ask = asked(copy, copy / of.folder)
        ask("init", "-input=false", "-no-color")
        ask("validate", "-no-color")
        ask("workspace", "new", of.name)
        ask("apply", "-input=false", "-no-color", "-auto-approve", *of.variables)
        module = json.loads(ask("show", "-json"))["values"]["root_module"]
        if found := too_much(module) + unfit(module):
            raise Failed("read from what was applied\n" + "\n".join(found))


def tested(terraform: Path, module: str) -> None:
    """A module's own tests, on a provider that OpenTofu mocks. Raises Failed."""
    with copied(terraform) as copy:
        ask = asked(copy, copy / "modules" / module)
        ask("init", "-input=false", "-no-color")
        ask("test", "-no-color")


def asked(copy: Path, folder: Path) -> Callable[..., str]:
    """OpenTofu in this folder of a copy, with the stand-in of the provider; a call gives what it prints."""
    configuration = copy / "tofu.rc"
    configuration.write_text(INSTALLATION % (TOOLS / "mirror"))
    return partial(
        tofu,
        folder=folder,
        TF_CLI_CONFIG_FILE=str(configuration),
        TF_IN_AUTOMATION="1",
        STAND_IN_SCHEMA=str(schema_of(copy)),
    )


def tofu(*arguments: str, folder: Path, **environment: str) -> str:
    """Raises Failed."""
    return run([TOFU, *arguments], folder, **environment)


def schema_of(terraform: Path) -> Path:
    """The provider's schema of what is named there: all of it would be read again by each of a dozen processes."""
    schema = json.loads((TOOLS / "aws.json").read_text())
    text = "\n".join(file.read_text() for file in terraform.rglob("*.tf"))
    for kind, word in (("resource", "resource"), ("data_source", "data"), ("ephemeral_resource", "ephemeral")):
        named = set(re.findall(rf'^{word} "(\w+)"', text, re.M))
        schema[f"{kind}_schemas"] = {name: of for name, of in schema[f"{kind}_schemas"].items() if name in named}
    file = terraform / "schema.json"
    file.write_text(json.dumps(schema))
    return file


def tflint(terraform: Path) -> None:
    """Raises Failed."""
    config = HERE / "tflint.hcl"
    run(
        [TFLINT, "--recursive", "--no-color", "--minimum-failure-severity=notice", f"--config={config}"],
        terraform,
    )


def checkov(terraform: Path) -> None:
    """Raises Failed. What is left out says why where it stands, as ``checkov:skip=…: why``."""
    options = ["--framework", "terraform", "--skip-download", "--output", "json", "--soft-fail"]
    found = json.loads(run([CHECKOV, "--directory", ".", *options], terraform, LOG_LEVEL="ERROR"))["results"]
    said = [
        f"{of['file_path']}: {of['resource']}: {of['check_id']} {of['check_name']}" for of in found["failed_checks"]
    ]
    said += [f"{file}: checkov cannot read it" for file in found["parsing_errors"]]
    said += [
        f"{of['file_path']}: {of['check_id']} is skipped without a reason"
        for of in found["skipped_checks"]
        if len(of["check_result"]["suppress_comment"]) < len("no reason at all")
    ]
    if said:
        raise Failed("checkov\n" + "\n".join(said))


# Mistakes ------------------------------------------------------------------------------------------------------------


def prove() -> int:
    """Make each mistake in a copy of its own, and see that something says so. 0 when every one was found."""
    listed = tomllib.loads((HERE / "mistakes.toml").read_text())["mistake"]
    missed = [mistake for mistake in listed if not is_found(Mistake(**mistake))]
    print(f"{len(listed) - len(missed)} of {len(listed)} mistakes were found")
    return 1 if missed else 0


def is_found(mistake: Mistake) -> bool:
    """Does something say so?"""
    with tempfile.TemporaryDirectory() as folder:
        copy = copied_to(folder)
        file = copy / mistake.file
        text = file.read_text()
        if mistake.good not in text:
            raise Failed(f"{mistake.file} does not hold {mistake.good!r}: change the mistake with it")
        file.write_text(text.replace(mistake.good, mistake.bad, 1))
        said = "\n".join(problems([steps(copy)[mistake.by]]))
    is_said = bool(said) and mistake.found in said
    print(f"{'found' if is_said else 'MISSED'}: {mistake.name}", flush=True)
    if not is_said:
        print(said or "nothing was said")
    return is_said


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as failure:
        sys.exit(str(failure))

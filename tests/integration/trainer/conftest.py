"""A pod's file system on a temporary folder, with a tiny random Llama made on the fly."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from aiohttp.test_utils import TestServer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from loraform_api.artifact import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PARITY_FILE
from loraform_api.names import RunStage
from loraform_api.run import RunConfig, StageReport
from loraform_engine.parity import ParityFile, ParityRow
from loraform_trainer.__main__ import main
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.paths import Paths
from loraform_verifier.http.queue import Verifiers
from loraform_verifier.http.service import application
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

from . import forks
from .certificates import self_signed
from .fake_engine import FakeEngine, PassesAll
from .run_paths import paths_below

POLICY = {"comment": "# This resource is generated using PiCloud tool", "tags": {"created_by": "PiCloud"}}


def program(name: str) -> str:
    """A bucket that keeps no policy."""
    return f'resource "aws_s3_bucket" "{name}" {{\n  bucket = "{name}"\n}}\n'


def row(name: str) -> dict[str, str]:
    """A training row."""
    return {"instruction": f"Create an S3 bucket named {name}.", "input": "", "response": program(name)}


def suite_row(name: str) -> dict[str, Any]:
    """A held-out row."""
    asked = {"types": ["aws_s3_bucket"], "names": [name], "values": [name]}
    return {"id": name, "instruction": f"Make a bucket, {name} its name.", "input": "", "asked": asked}


def write_lines(path: Path, rows: Iterable[object]) -> None:
    """Write JSON lines; text is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")


def arrow_rows(path: Path) -> list[dict[str, Any]]:
    """Read the tokenised rows that `prepare` wrote."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        rows: list[dict[str, Any]] = stream.read_all().to_pylist()
        return rows


def tiny_base(folder: Path) -> None:
    """Write a random Llama of ten thousand weights (heads of 32, as vLLM asks) with a byte-level tokenizer."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([program("bucket")] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def saved_step(checkpoints: Path) -> int:
    """Return the step of the newest sealed checkpoint; 0 where there is none."""
    names = (path.parent.name for path in checkpoints.glob("checkpoint-*/manifest.json"))
    return max((int(name.removeprefix("checkpoint-")) for name in names), default=0)


@dataclass
class Pod:
    """The mounts of one run, and its config as a dictionary to be changed before a stage is run."""

    root: Path
    config: dict[str, Any]

    @property
    def paths(self) -> Paths:
        return paths_below(self.root)

    def write_config(self) -> None:
        """Put the config where the stages read it, at once: another pod of the run may be reading it."""
        whole = self.paths.run_config.with_suffix(".whole")
        whole.write_text(json.dumps(self.config), encoding="utf-8")
        whole.replace(self.paths.run_config)

    def run_config(self) -> RunConfig:
        return RunConfig.model_validate(self.config)

    def report(self) -> StageReport:
        """What the kubelet would read."""
        return StageReport.model_validate_json(self.paths.termination_log.read_text(encoding="utf-8"))

    def write_source(self, rows: Iterable[object]) -> None:
        """Fill the dataset's ConfigMap."""
        write_lines(self.paths.sources_mount / "data" / "rows.jsonl", rows)

    def write_suite(self, rows: Iterable[object]) -> None:
        """Fill the suite's ConfigMap."""
        write_lines(self.paths.suites_mount / "held-out" / "suite.jsonl", rows)

    def workspace_report(self, stage: RunStage) -> StageReport:
        return StageReport.model_validate_json(self.paths.report(stage).read_text(encoding="utf-8"))

    def arguments(self, stage: str, **paths: Path) -> list[str]:
        """Write the config; return the command line of a stage, with other places for some of its files."""
        self.write_config()
        places = {f.name: paths.get(f.name, getattr(self.paths, f.name)) for f in fields(Paths)}
        return [stage, *(f"--{name.replace('_', '-')}={path}" for name, path in places.items())]

    def run(self, stage: str, *extra: str) -> int:
        """Run a stage as its container does; returns the exit code."""
        return main([*self.arguments(stage), "--mount-wait-seconds=0", *extra])

    def copied_to(self, root: Path) -> Pod:
        """The run as it is now, elsewhere."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return Pod(root, deepcopy(self.config))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums in one order, and little of the machine: threads of tiny models only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def forked() -> Iterator[forks.Import]:
    """Imports the modules of this folder whose functions run in forked processes."""
    with forks.importing() as found:
        yield found


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, made once."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    tiny_base(folder)
    return folder


def new_pod(root: Path, base_model: Path) -> Pod:
    """Return a run that would succeed: forty rows, three held-out ones."""
    spec = {
        "baseModel": {"storageUri": "pvc://models/tiny"},
        "dataset": {
            "sources": [{"name": "data", "configMap": {"name": "rows", "key": "rows.jsonl"}}],
            "minRows": 10,
            "validationPercent": 10,
            "checks": {"validity": "Off"},
        },
        "lora": {"rank": 4, "alpha": 8},
        "training": {
            "epochs": 2, "batchSize": 4, "maxSequenceLength": 400, "learningRate": "5e-3",
        },
        "checkpoint": {"everySteps": 4},
        "evaluation": {
            "suites": [
                {
                    "name": "held-out",
                    "configMap": {"name": "suite", "key": "suite.jsonl"},
                    "stages": ["Parse", "Validate", "Policy", "Intent"],
                }
            ],
            "maxNewTokens": 32,
        },
        "output": {"storageUri": "pvc://artifacts/team/adapters"},
    }  # fmt: skip
    config = {
        "namespace": "default", "name": "job", "uid": "1234", "spec": spec, "policy": POLICY,
        "images": {"trainer": "t", "verifier": "v", "engine": "e"}, "engineDtype": "float32",
    }  # fmt: skip
    made = Pod(root, config)
    (made.paths.base_mount).mkdir()
    (made.paths.base_mount / "tiny").mkdir()
    for file in base_model.iterdir():
        (made.paths.base_mount / "tiny" / file.name).write_bytes(file.read_bytes())
    for folder in (made.paths.output_mount, made.paths.workspace):
        folder.mkdir()
    made.write_source(row(f"bucket-{i}") for i in range(40))
    made.write_suite(suite_row(f"held-{i}") for i in range(3))
    made.write_config()
    return made


@pytest.fixture
def pod(tmp_path: Path, base_model: Path) -> Pod:
    """A run of its own for a test."""
    return new_pod(tmp_path, base_model)


@pytest.fixture
def stage(pod: Pod) -> Callable[..., int]:
    """Run a stage of the test's run; returns the exit code."""
    return pod.run


@pytest.fixture
def training_row() -> Callable[[str], dict[str, str]]:
    """Make a good training row by name."""
    return row


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path / "tls"
    folder.mkdir()
    return self_signed(folder)


@pytest.fixture
def trained(pod: Pod) -> Pod:
    """A run up to train, as its workspace shows; the adapter is a name only, as the fake engine reads no weights."""
    shutil.copytree(pod.paths.base_mount / "tiny", pod.paths.base)
    rows = [suite_row(f"held-{i}") for i in range(3)]
    more = {
        "suite": "held-out", "stages": ["Parse", "Validate", "Policy", "Intent"], "rego": None,
        "types": ["aws_s3_bucket"], "difficulty": "", "cluster": "",
    }  # fmt: skip
    write_lines(pod.paths.suite_rows, (row | more for row in rows))
    write_adapter(pod, pod.paths.adapter, "adapter")
    return pod


def write_adapter(pod: Pod, folder: Path, weights: str) -> None:
    """Leave an adapter as train does, with its parity file; `weights` stands for its weights."""
    vocabulary = tokens.load(pod.paths.base)
    folder.mkdir(parents=True)
    (folder / ADAPTER_CONFIG).write_text(ADAPTER_CONFIG)
    (folder / ADAPTER_WEIGHTS).write_text(weights)
    known = [(vocabulary.tokens(f"Make {weights} {i}.", ""), vocabulary.response(program("x"))) for i in range(3)]
    parity = ParityFile(
        template_hash=vocabulary.template_hash,
        dtype="float32",
        rows=[
            ParityRow(
                prompt_ids=prompt,
                response_ids=response,
                adapter_logprobs=[-0.5] * len(response),
                base_logprobs=[-4.0] * len(response),
            )
            for prompt, response in known
        ],
    )
    (folder / PARITY_FILE).write_text(parity.model_dump_json(by_alias=True))


@pytest.fixture
def engine(trained: Pod) -> FakeEngine:
    return FakeEngine(Tokenizer.from_file(str(trained.paths.base / "tokenizer.json")))


@pytest.fixture
def verifier() -> Verifier:
    """Real but for terraform."""
    return Verifier(validator=PassesAll())  # type: ignore[arg-type] # stands for a Validator


@pytest.fixture(scope="session")
def terraform_verifier(terraform: Terraform) -> Iterator[Verifier]:
    """Real, with this machine's terraform and a provider that stays up."""
    with ProviderServers(terraform) as keeper:
        yield Verifier(terraform, servers=keeper)


@pytest.fixture
async def urls(engine: FakeEngine, verifier: Verifier) -> AsyncIterator[tuple[str, str]]:
    async with TestServer(engine.app()) as fake, TestServer(application(Verifiers(*[verifier] * 3))) as service:
        yield str(fake.make_url("")).rstrip("/"), str(service.make_url("")).rstrip("/")

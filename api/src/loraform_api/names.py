"""Names shared by all processes: group, labels, objects, containers, paths, ports, environment variables."""

from __future__ import annotations

import hashlib
from enum import StrEnum

GROUP = "loraform.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MANAGER = "loraform-operator"
"""Field manager of every write, and the value of `app.kubernetes.io/managed-by`."""


class Kind(StrEnum):
    FINE_TUNE_JOB = "FineTuneJob"
    IAC_MODEL = "IaCModel"

    @property
    def plural(self) -> str:
        """The resource name in API paths."""
        return self.value.lower() + "s"


class RunStage(StrEnum):
    """Stages of a run, in order; each is one Kubernetes Job. `FineTuneJobSpec.stages` has those of a run."""

    PREPARE = "prepare"
    TRAIN = "train"
    BASELINE = "baseline"
    EVALUATE = "evaluate"
    PUBLISH = "publish"


# Labels. Selectors use only these, never a user's.
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_NAME = "app.kubernetes.io/name"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_PART_OF = "app.kubernetes.io/part-of"
LABEL_JOB = f"{GROUP}/finetunejob"
LABEL_MODEL = f"{GROUP}/iacmodel"
LABEL_OWNER_UID = f"{GROUP}/owner-uid"
LABEL_STAGE = f"{GROUP}/stage"
LABEL_RETRY = f"{GROUP}/retry"

# Containers and ports.
CONTAINER_ENGINE = "engine"
CONTAINER_VERIFIER = "verifier"
CONTAINER_GATEWAY = "gateway"
CONTAINER_AGENT = "agent"
PORT_OPERATOR = 9443
PORT_METRICS = 8080
"""Of the operator, of each gateway, and of each agent, which passes on its engine's metrics."""
PORT_GATEWAY = 8000
PORT_AGENT = 8001
PORT_ENGINE = 8100
PORT_VERIFIER = 8085
ENGINE_MODEL = "base"
"""Name of the engine's own model: the base, or the merged model."""
PORT_RENDEZVOUS = 29400
"""Port on the train pod with index 0 at which the train pods of a run meet."""
SERVICE_OPERATOR = "loraform-operator"
"""Service without selector of the operator's HTTPS endpoint (progress, heartbeats), in the operator's namespace."""

# Files inside pods.
RUN_DIR = "/etc/loraform/run"
RUN_CONFIG_FILE = "run.json"
ENDPOINT_DIR = "/etc/loraform/endpoint"
ENDPOINT_FILE = "endpoint.json"
"""The operator's address and CA (`OperatorEndpoint`)."""
CA_FILE = "ca.crt"
"""Key of a user's ConfigMap with the CA of a remote place, and name of its file."""
TOKEN_DIR = "/var/run/secrets/loraform"  # noqa: S105 (a path)
TOKEN_FILE = "token"  # noqa: S105 (a file name)
WORKSPACE_DIR = "/workspace"
BASE_FOLDER = "base"
"""The run's own copy of the base model, in the workspace."""
BASE_MOUNT = "/mnt/base"
OUTPUT_MOUNT = "/mnt/output"
LIVE_MOUNT = "/mnt/live"
SOURCES_MOUNT = "/mnt/sources"
"""`/mnt/sources/<source name>`: files of a source of `dataset.sources`: its ConfigMap, its claim, or `ca.crt`."""
SUITES_MOUNT = "/mnt/suites"
"""`/mnt/suites/<suite name>`: the same for `evaluation.suites`; a suite may have the name of a source."""
PACKS_MOUNT = "/mnt/packs"
"""`/mnt/packs/<pack name>/pack.rego`: the packs of the house policy, in `prepare` and beside every verifier."""
PACK_FILE = "pack.rego"
ACCESS_FILES = ("token", "username", "password", "accessKeyId", "secretAccessKey", "sessionToken")
"""Keys of a Secret that are read, and names of the files with their values, which are mounted beside `ca.crt`."""
BASE_ACCESS_MOUNT = "/mnt/access/base"
OUTPUT_ACCESS_MOUNT = "/mnt/access/output"
"""Access files of a remote base model and a remote store; those of a source are in its own folder."""
CACHE_MOUNT = "/mnt/cache"
STORE_MOUNT = "/mnt/store"
"""`/mnt/store/<claim>`: artifact claims in serving pods."""
ROUTE_DIR = "/etc/loraform/route"
ROUTE_FILE = "route.json"
API_KEYS_DIR = "/etc/loraform/api-keys"
API_KEYS_FILE = "api-keys"
"""Key of the Secret with a gateway's API keys, and name of its file. It is fixed, so that no other Secret can be
mounted and read back."""
TLS_DIR = "/etc/loraform/tls"
TLS_CERTIFICATE = "tls.crt"
TLS_KEY = "tls.key"
"""Keys of a Secret of type `kubernetes.io/tls`, and names of the files in `TLS_DIR`."""
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LIMIT = 3500
"""Most bytes of an encoded termination message; Kubernetes keeps 4096."""

# Environment of pods.
ENV_ENDPOINT = "LORAFORM_ENDPOINT"
"""Path of `ENDPOINT_FILE`."""
ENV_TOKEN = "LORAFORM_TOKEN"  # noqa: S105 (a variable name)
"""Path of `TOKEN_FILE`."""
ENV_POD_NAME = "LORAFORM_POD_NAME"
ENV_NODES = "LORAFORM_NODES"
"""Number of train pods of the run; Kubernetes sets the pod's index in `JOB_COMPLETION_INDEX`."""
ENV_PROCESSES = "LORAFORM_PROCESSES"
"""Training processes of each pod: one per GPU."""
ENV_MASTER = "LORAFORM_MASTER"
"""Host name of the train pod with index 0."""
ENV_ENGINE_URL = "LORAFORM_ENGINE_URL"


def audience(namespace: str, name: str, uid: str) -> str:
    """Return the audience of the tokens of a custom resource's pods."""
    return f"{GROUP}/{namespace}/{name}/{uid}"


def short_hash(text: str) -> str:
    """Return the first eight hex digits of `text`'s sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_prefix(job: str, uid: str) -> str:
    """Return the common prefix of a run's children, `<job>-<8 hex of sha256(uid)>`."""
    return f"{job}-{short_hash(uid)}"


def stage_job_name(job: str, uid: str, stage: RunStage, retry: int = 0) -> str:
    """Return the name of a stage's Job; that of a retry ends in its number."""
    suffix = f"-{retry}" if retry else ""
    return f"{run_prefix(job, uid)}-{stage}{suffix}"


def rendezvous_name(job: str, uid: str) -> str:
    """Return the name of the headless Service of a run's train pods."""
    return f"{run_prefix(job, uid)}-nodes"


def progress_path(namespace: str, job: str) -> str:
    """Return the operator's URL path for a run's progress (POST, KEP-2779 body)."""
    return f"/v1/namespaces/{namespace}/finetunejobs/{job}/progress"


def heartbeat_path(namespace: str, model: str) -> str:
    """Return the operator's URL path for heartbeats of a model's gateways and agents."""
    return f"/v1/namespaces/{namespace}/iacmodels/{model}/heartbeat"


def gateway_name(model: str) -> str:
    """Return the name of the model's gateway Deployment; the Service for users has the model's name."""
    return f"{model}-gateway"


def engine_name(model: str) -> str:
    """Return the name of the model's engine Deployment and Service (port: the agent's)."""
    return f"{model}-engine"


def route_name(model: str) -> str:
    """Return the name of the ConfigMap with the model's route."""
    return f"{model}-route"

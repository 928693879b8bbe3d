"""Asks the served model through the gateway, and reads the metrics, as a user of the demo would."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from loraform_demo.run_cluster import OPERATOR_NAMESPACE
from loraform_demo.run_kube import DemoError, Kube
from loraform_demo.run_store import DATA, NAMESPACE

LEASE, METRICS_PORT = "loraform-operator", 8080
SHOWN_METRICS = ("loraform_", "workqueue_", "controller_runtime_reconcile_total")


def held_out_prompts(count: int) -> list[str]:
    """Return the suite's first prompts that are one sentence; their names and values occur in no training row."""
    rows = [json.loads(line) for line in (DATA / "suite.jsonl").read_text().splitlines()]
    return [row["instruction"] for row in rows if not row.get("input")][:count]


def ask(base_url: str, model: str, prompt: str, **loraform: str) -> dict[str, Any]:
    """Ask the gateway as any OpenAI client would, and return the whole answer.

    `loraform`: the options of the request's field of that name, such as `input` and `verify`.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        **({"loraform": loraform} if loraform else {}),
    }
    request = urllib.request.Request(  # noqa: S310 (an address of this machine)
        f"{base_url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            completion: dict[str, Any] = json.load(answer)
            return completion
    except urllib.error.HTTPError as error:
        detail = error.read().decode(errors="replace")[:500]
        raise DemoError(f"the gateway answered {error.code}: {detail}") from error
    except OSError as error:
        raise DemoError(f"the gateway cannot be reached: {error}") from error


def answers(kube: Kube, model: str, count: int) -> list[dict[str, Any]]:
    """Ask `count` held-out prompts through the model's Service; return prompt, answer and verdict of each."""
    exchanges = []
    with kube.forwarded(model, NAMESPACE, 80) as url:
        for prompt in held_out_prompts(count):
            answer = ask(url, model, prompt)
            text = answer["choices"][0]["message"]["content"]
            exchanges.append({"prompt": prompt, "answer": text, "loraform": answer.get("loraform", {})})
    return exchanges


def metrics(kube: Kube) -> str:
    """Return the metrics page of the operator's pod that leads: it alone has the series of custom resources."""
    with (
        kube.forwarded(f"pod/{leader(kube)}", OPERATOR_NAMESPACE, METRICS_PORT) as url,
        urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer,  # noqa: S310
    ):
        page: str = answer.read().decode()
        return page


def leader(kube: Kube) -> str:
    """Return the name of the operator's pod that leads, as its lease says."""
    words = ("get", "lease", LEASE, f"--namespace={OPERATOR_NAMESPACE}", "--output=jsonpath={.spec.holderIdentity}")
    return kube.run(*words).partition("_")[0]


def excerpt(page: str) -> list[str]:
    """Return the samples worth showing: ours first, without comments, buckets and what is 0."""
    shown = [
        line
        for line in page.splitlines()
        if line.startswith(SHOWN_METRICS) and "_bucket" not in line and not line.endswith(" 0.0")
    ]
    return sorted(shown, key=lambda line: not line.startswith("loraform_"))

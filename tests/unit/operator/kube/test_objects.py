from __future__ import annotations

from loraform_operator.kube.objects import path_of


def test_api_paths() -> None:
    assert path_of("Pod", "ns") == "/api/v1/namespaces/ns/pods"
    assert path_of("Job", None) == "/apis/batch/v1/jobs"
    status = path_of("FineTuneJob", "ns", "j", "status")
    assert status == "/apis/loraform.dev/v1alpha1/namespaces/ns/finetunejobs/j/status"

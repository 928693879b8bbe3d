from __future__ import annotations

from loraform_api.finetunejob_status import Metric
from loraform_operator.finetunejob.status import metrics_of


def test_metrics_of_strangers() -> None:
    told = [{"name": "loss", "value": "1"}, {"name": "bad name", "value": "1"}, {"name": "loss", "value": "2"}]
    told += [{"value": "1"}, {"name": "long", "value": "1" * 33}]
    assert metrics_of(told) == [Metric(name="loss", value="2")]
    assert len(metrics_of([{"name": f"m{i}", "value": "1"} for i in range(64)])) == 20

from __future__ import annotations

from loraform_api.finetunejob_status import Metric
from loraform_operator.finetunejob.status import metrics_of


def test_invalid_metrics_are_dropped_and_the_number_is_limited() -> None:
    entries = [{"name": "loss", "value": "1"}, {"name": "bad name", "value": "1"}, {"name": "loss", "value": "2"}]
    entries += [{"value": "1"}, {"name": "long", "value": "1" * 33}]
    assert metrics_of(entries) == [Metric(name="loss", value="2")]
    assert len(metrics_of([{"name": f"m{i}", "value": "1"} for i in range(64)])) == 20

from collections import Counter

from loraform_api.failures import FAILURES, HINTS, PERMANENT, UNCOUNTED, ExitCode, FailureClass


def test_every_failure_class_has_one_row() -> None:
    assert Counter(row.name for row in FAILURES) == Counter(FailureClass)


def test_every_exit_code_but_ok_has_one_row() -> None:
    assert Counter(row.exit_code for row in FAILURES if row.exit_code is not None) == Counter(
        set(ExitCode) - {ExitCode.OK}
    )
    assert [code for code in ExitCode if code.failure is None] == [ExitCode.OK]


def test_an_exit_code_and_its_failure_class_have_one_name() -> None:
    assert all(row.exit_code.name == row.name.name for row in FAILURES if row.exit_code is not None)


def test_every_row_says_what_happened_and_what_to_do() -> None:
    assert all(row.meaning.endswith(".") and row.hint.endswith(".") for row in FAILURES)
    assert set(HINTS) == set(FailureClass)


def test_a_pod_that_saved_its_progress_is_not_counted() -> None:
    assert set(UNCOUNTED) == {ExitCode.SAVED_AND_STOPPED, ExitCode.PEER_LOST}


def test_only_what_a_retry_cannot_help_is_permanent() -> None:
    retried = {ExitCode.TRAINER_ERROR, ExitCode.OUT_OF_GPU_MEMORY, *UNCOUNTED}
    assert set(PERMANENT) == set(ExitCode) - retried - {ExitCode.OK}

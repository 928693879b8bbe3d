from loraform_engine.prompt import prompt_tokens, render, response_tokens


def encode(text: str) -> list[int]:
    return list(text.encode())


def test_the_prompt_has_headers_for_instruction_input_and_response() -> None:
    assert (
        "".join(render("Make a bucket", "now"))
        == "### Instruction:\nMake a bucket\n\n### Input:\nnow\n\n### Response:\n"
    )


def test_an_empty_input_has_no_header() -> None:
    assert "### Input" not in "".join(render("Make a bucket", "  "))


def test_tokens_of_segments_follow_the_prefix() -> None:
    assert prompt_tokens(encode, "a", prefix=[7]) == [7, *encode("### Instruction:\na\n\n### Response:\n")]


def test_a_response_ends_with_an_end_token() -> None:
    assert response_tokens(encode, " x ", end=9) == [*encode("x\n"), 9]

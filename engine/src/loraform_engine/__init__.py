"""Code shared by trainer, gateway and agent: the prompt, the vLLM client, adapter loading and the parity check."""

"""Code shared by trainer, gateway and agent: the prompt, the vLLM client, and loading adapters with proof."""

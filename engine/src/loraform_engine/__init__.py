"""For all who speak to an engine: the prompt contract, the vLLM client, adapters that are loaded and proven."""

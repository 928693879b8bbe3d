"""The stages of a run: prepare, train, evaluate, publish. Contract: `loraform_api.run`."""

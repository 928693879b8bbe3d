"""The demo's own corpora and its tiny base model. Nothing outside the demo imports this package."""

"""Makes CRDs and the API reference from `loraform_api`. In no image."""

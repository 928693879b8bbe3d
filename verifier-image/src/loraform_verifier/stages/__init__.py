"""The stages of verification, and the checks of Validate and Intent that need no Terraform."""

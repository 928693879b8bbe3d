"""HCL: parse programs, read literal values, edit the text, normalise for Terraform."""

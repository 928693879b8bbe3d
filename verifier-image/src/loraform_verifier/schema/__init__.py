"""What providers say their types look like, and the Schema stage that holds programs against it without Terraform."""

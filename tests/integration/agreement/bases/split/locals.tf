locals {
  cidr = "10.9.0.0/16"
  tags = merge(var.tags, { Name = "main" })
}

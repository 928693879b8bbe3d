variable "cidr" {
  type = string
}

resource "aws_vpc" "this" {
  cidr_block = var.cidr
}

module "inner" {
  source = "./inner"
  vpc    = aws_vpc.this
}

output "vpc" {
  value = aws_vpc.this
}

output "subnets" {
  value = module.inner.subnets
}

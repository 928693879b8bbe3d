variable "vpc" {
  type = object({
    id         = string
    cidr_block = string
  })
}

resource "aws_subnet" "this" {
  for_each   = { a = 0, b = 1 }
  vpc_id     = var.vpc.id
  cidr_block = cidrsubnet(var.vpc.cidr_block, 8, each.value)
}

output "subnets" {
  value = [for subnet in aws_subnet.this : subnet.id]
}

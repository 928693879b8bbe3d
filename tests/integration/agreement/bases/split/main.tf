resource "aws_vpc" "main" {
  cidr_block = local.cidr
  tags       = local.tags
}

resource "aws_vpc_dhcp_options" "main" {
  domain_name = var.domain
}

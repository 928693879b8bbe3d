resource "aws_vpc" "inner" {
  cidr_block = "10.1.0.0/16"
}

resource "aws_subnet" "inner" {
  vpc_id     = aws_vpc.inner.id
  cidr_block = "10.1.1.0/24"
}

resource "aws_eip" "nat" {
  domain = "vpc"
}

resource "aws_nat_gateway" "inner" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.inner.id
  depends_on    = [aws_vpc.inner]
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id       = aws_vpc.inner.id
  service_name = "com.amazonaws.us-east-1.s3"
}

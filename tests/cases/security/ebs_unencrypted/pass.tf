variable "encrypted" {
}

resource "aws_ebs_volume" "data" {
  availability_zone = "us-east-1a"
  size              = 8
  encrypted         = true
}

resource "aws_ebs_volume" "asked" {
  availability_zone = "us-east-1a"
  size              = 8
  encrypted         = var.encrypted
}

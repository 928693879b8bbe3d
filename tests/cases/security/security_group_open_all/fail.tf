resource "aws_security_group" "bad" {
  name = "open"

  ingress {
    from_port        = 0
    to_port          = 0
    protocol         = "-1"
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_security_group_rule" "bad" {
  type              = "ingress"
  security_group_id = aws_security_group.bad.id
  from_port         = 0
  to_port           = 65535
  protocol          = "tcp"
  cidr_blocks       = ["0.0.0.0/0"]
}

resource "aws_vpc_security_group_ingress_rule" "bad" {
  security_group_id = aws_security_group.bad.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

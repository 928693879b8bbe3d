variable "password" {
  type      = string
  sensitive = true
  default   = "not-a-secret-1"
}

resource "aws_db_subnet_group" "main" {
  name       = "main"
  subnet_ids = ["subnet-1", "subnet-2"]
}

resource "aws_db_instance" "main" {
  identifier           = "main"
  allocated_storage    = 20
  engine               = "postgres"
  instance_class       = "db.t3.micro"
  username             = "boss"
  password             = var.password
  db_subnet_group_name = aws_db_subnet_group.main.name
  skip_final_snapshot  = true

  timeouts {
    create = "60m"
  }
}

output "endpoint" {
  value     = "${aws_db_instance.main.address}:${aws_db_instance.main.port}"
  sensitive = true
}

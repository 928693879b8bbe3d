variable "password" {
  default   = "set-elsewhere"
  sensitive = true
}

resource "aws_db_instance" "main" {
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  allocated_storage   = 20
  username            = "app"
  skip_final_snapshot = true
  password            = var.password
}

resource "aws_ssm_parameter" "name" {
  name  = "name"
  type  = "String"
  value = "plain"
}

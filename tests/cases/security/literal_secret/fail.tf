resource "aws_db_instance" "bad" {
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  allocated_storage   = 20
  username            = "app"
  skip_final_snapshot = true
  password            = "correct-horse"
}

resource "aws_ssm_parameter" "bad" {
  name  = "secret"
  type  = "SecureString"
  value = "correct-horse"
}

resource "aws_mq_broker" "bad" {
  broker_name        = "queue"
  engine_type        = "ActiveMQ"
  engine_version     = "5.18"
  host_instance_type = "mq.t3.micro"

  user {
    username = "app"
    password = "correct-horse-battery"
  }
}

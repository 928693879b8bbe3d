resource "aws_db_instance" "main" {
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  allocated_storage   = 20
  username            = "app"
  skip_final_snapshot = true
  storage_encrypted   = true
}

resource "aws_db_instance" "replica" {
  replicate_source_db = aws_db_instance.main.identifier
  instance_class      = "db.t3.micro"
  skip_final_snapshot = true
}

resource "aws_rds_cluster" "serverless" {
  engine          = "aurora-mysql"
  engine_mode     = "serverless"
  master_username = "app"
}

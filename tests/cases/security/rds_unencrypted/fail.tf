resource "aws_db_instance" "bad" {
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  allocated_storage   = 20
  username            = "app"
  skip_final_snapshot = true
}

resource "aws_docdb_cluster" "bad" {
  master_username   = "app"
  storage_encrypted = false
}

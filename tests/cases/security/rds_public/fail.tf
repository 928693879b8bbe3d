resource "aws_db_instance" "bad" {
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  allocated_storage   = 20
  username            = "app"
  skip_final_snapshot = true
  publicly_accessible = true
}

resource "aws_redshift_cluster" "bad" {
  cluster_identifier  = "facts"
  node_type           = "ra3.xlplus"
  publicly_accessible = true
}

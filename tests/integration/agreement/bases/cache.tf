resource "aws_elasticache_subnet_group" "main" {
  name       = "main"
  subnet_ids = ["subnet-1"]
}

resource "aws_elasticache_cluster" "main" {
  cluster_id        = "main"
  engine            = "redis"
  node_type         = "cache.t3.micro"
  num_cache_nodes   = 1
  subnet_group_name = aws_elasticache_subnet_group.main.name
}

resource "aws_efs_file_system" "share" {
  creation_token = "share"

  lifecycle_policy {
    transition_to_ia = "AFTER_30_DAYS"
  }
}

resource "aws_efs_mount_target" "share" {
  file_system_id = aws_efs_file_system.share.id
  subnet_id      = "subnet-1"
}

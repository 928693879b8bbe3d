resource "aws_elasticache_replication_group" "bad" {
  replication_group_id       = "cache"
  description                = "cache"
  node_type                  = "cache.t3.small"
  at_rest_encryption_enabled = true
}

resource "aws_redshift_cluster" "bad" {
  cluster_identifier = "facts"
  node_type          = "ra3.xlplus"
  encrypted          = false
}

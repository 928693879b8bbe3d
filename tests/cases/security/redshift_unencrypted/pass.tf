resource "aws_redshift_cluster" "facts" {
  cluster_identifier = "facts"
  node_type          = "ra3.xlplus"
  encrypted          = true
}

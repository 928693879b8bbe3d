resource "aws_iam_role" "eks" {
  name               = "eks"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [] })
}

resource "aws_eks_cluster" "main" {
  name     = "main"
  role_arn = aws_iam_role.eks.arn

  vpc_config {
    subnet_ids = ["subnet-1", "subnet-2"]
  }
}

resource "aws_eks_node_group" "main" {
  cluster_name    = aws_eks_cluster.main.name
  node_group_name = "main"
  node_role_arn   = aws_iam_role.eks.arn
  subnet_ids      = ["subnet-1"]

  scaling_config {
    desired_size = 1
    max_size     = 2
    min_size     = 1
  }
}

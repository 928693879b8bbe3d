data "aws_iam_policy_document" "all" {
  statement {
    actions   = ["*"]
    resources = ["*"]
  }
}

resource "aws_iam_policy" "bad" {
  policy = data.aws_iam_policy_document.all.json
}

resource "aws_iam_user_policy" "bad" {
  user = "admin"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = { Effect = "Allow", Action = ["s3:GetObject", "*"], Resource = ["*"] }
  })
}

resource "aws_iam_role" "bad" {
  assume_role_policy = jsonencode({
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })

  inline_policy {
    name   = "all"
    policy = data.aws_iam_policy_document.all.json
  }
}

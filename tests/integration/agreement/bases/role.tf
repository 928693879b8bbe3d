resource "aws_iam_role" "task" {
  name = "task"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Action    = "sts:AssumeRole"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "task" {
  for_each   = toset(["AmazonS3ReadOnlyAccess", "CloudWatchLogsFullAccess"])
  role       = aws_iam_role.task.name
  policy_arn = "arn:aws:iam::aws:policy/${each.key}"
}

resource "aws_iam_policy" "list" {
  name   = "list"
  policy = jsonencode({ Version = "2012-10-17", Statement = [] })
}

resource "aws_iam_user" "bot" {
  name = "bot"
}

output "role" {
  description = "who runs the task"
  value       = aws_iam_role.task.arn
}

resource "aws_sns_topic" "events" {
}

resource "aws_lambda_permission" "topic" {
  action        = "lambda:InvokeFunction"
  function_name = "job"
  principal     = "*"
  source_arn    = aws_sns_topic.events.arn
}

resource "aws_lambda_permission" "service" {
  action        = "lambda:InvokeFunction"
  function_name = "job"
  principal     = "events.amazonaws.com"
}

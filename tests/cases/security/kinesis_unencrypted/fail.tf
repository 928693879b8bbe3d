resource "aws_kinesis_stream" "bad" {
  name        = "events"
  shard_count = 1
}

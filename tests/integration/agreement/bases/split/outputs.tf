output "vpc" {
  value = aws_vpc.main.id

  precondition {
    condition     = local.cidr != ""
    error_message = "There must be a network."
  }
}

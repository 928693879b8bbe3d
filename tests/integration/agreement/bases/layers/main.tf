provider "aws" {
  region = "us-east-1"
}

provider "aws" {
  alias  = "west"
  region = "us-west-2"
}

module "network" {
  source = "./modules/network"
  cidr   = "10.5.0.0/16"

  providers = {
    aws = aws.west
  }
}

module "more" {
  count  = 2
  source = "./modules/network"
  cidr   = "10.${count.index + 6}.0.0/16"
}

resource "aws_flow_log" "main" {
  vpc_id          = module.network.vpc.id
  traffic_type    = "ALL"
  log_destination = "arn:aws:s3:::flow-logs"

  log_destination_type = "s3"
}

output "subnets" {
  value = concat(module.network.subnets, module.more[0].subnets)
}

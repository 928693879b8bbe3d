resource "aws_route53_zone" "main" {
  name = "example.test"
}

resource "aws_route53_record" "www" {
  for_each = {
    www = "192.0.2.10"
    api = "192.0.2.11"
  }
  zone_id = aws_route53_zone.main.zone_id
  name    = "${each.key}.example.test"
  type    = "A"
  ttl     = 300
  records = [each.value]
}

resource "aws_acm_certificate" "main" {
  domain_name       = "example.test"
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

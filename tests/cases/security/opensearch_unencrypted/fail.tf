resource "aws_opensearch_domain" "bad" {
  domain_name = "search"
}

resource "aws_elasticsearch_domain" "bad" {
  domain_name = "search"

  encrypt_at_rest {
    enabled = false
  }
}

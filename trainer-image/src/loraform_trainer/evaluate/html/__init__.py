"""`reports/evaluation.html`: one page for people. Pure."""

"""The house policy: judge it on the syntax tree, and rewrite a program to keep it."""

"""What is made of judged answers: figures, their uncertainty, and the page that shows them. Pure but for `write`."""

"""What is made of judged answers: figures, their uncertainty, and the page that shows them. Pure but for what writes
(`outcome`) and what asks for more answers (`reflexion`).
"""

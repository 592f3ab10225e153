"""What is seen in a notebook: the table, the card, the forms. They hold no truth of their own."""

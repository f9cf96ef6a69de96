"""What is answered: lists, predictions and explanations of one model and the feedback, without a web."""

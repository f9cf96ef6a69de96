"""Answers: lists, predictions and explanations from one model and the feedback, without HTTP."""

"""What a task promises and expects: the shapes that fit it, and which promise a task from elsewhere breaks."""

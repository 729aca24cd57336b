"""What is drawn: layers of results, lines on the canvas. Decides nothing."""

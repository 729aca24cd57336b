"""What is asked: layers and controls, understood as a frozen request. Pure: no Qt, no thread, nothing is written."""

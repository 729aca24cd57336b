"""What people bring, told apart: kinds of numbers, axes, places. Pure: it reads no file and knows no window."""

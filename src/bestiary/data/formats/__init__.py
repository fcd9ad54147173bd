"""What image files hold besides pixels, format by format."""

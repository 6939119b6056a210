"""What the domain is stored in."""

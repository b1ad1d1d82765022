"""What a black-box loss is."""

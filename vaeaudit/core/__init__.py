"""Arrays, records, errors: what every other part builds on."""

"""Reports: one page model, rendered to HTML and PDF."""

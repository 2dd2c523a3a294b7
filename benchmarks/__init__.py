"""What is measured, and how. A package of its own, so that no installed one of this common name comes before it."""

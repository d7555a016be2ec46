"""What only training needs; none of it is loaded with a model."""

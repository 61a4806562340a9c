"""Sessions: planning, submitting, listing, reaching and previewing them."""

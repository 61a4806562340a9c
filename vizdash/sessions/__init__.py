"""Sessions: asking for them, finding them, reaching them, ending them."""

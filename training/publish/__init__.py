"""What leaves training: plain and merged models, their cards, and the push to the Hub."""

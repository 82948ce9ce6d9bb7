"""What a release must be, judged from what a registry holds; promotion, differences and the way back."""

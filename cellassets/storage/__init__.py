"""Where artefacts are kept, how they are published, and what is known of them."""

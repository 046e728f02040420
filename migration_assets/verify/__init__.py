"""How equality is proved: digest and comparison."""

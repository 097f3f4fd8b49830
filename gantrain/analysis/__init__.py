"""What theory says of outer loops and of games, and what of it shows in the games themselves."""

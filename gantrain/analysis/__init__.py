"""What theory says of the outer loops, and of the games they are run on."""

"""What calls teach for the estimates of later calls: how long outputs are, and who answers to a name."""

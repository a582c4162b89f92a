"""The product's throughput, compared with alternatives (`make bench`)."""

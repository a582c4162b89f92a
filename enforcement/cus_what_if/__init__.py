"""What-if: proposed limits, replayed over the evidence of past days."""

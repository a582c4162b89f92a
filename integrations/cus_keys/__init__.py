"""Issue, verify, throttle and revoke SDK keys."""

"""`python -m aos_sdk doctor`."""

import sys

from aos_sdk.cus_doctor import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m migration_assets_tests.soak`: what `make soak` runs; see `lives.soak`.

Nothing is imported before it runs: every process that a life kills imports this module again.
"""

import sys

if __name__ == "__main__":
    from migration_assets_tests.lives.soak import main

    sys.exit(main())

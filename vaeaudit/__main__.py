"""``python -m vaeaudit``."""

from vaeaudit.cli.main import main

if __name__ == "__main__":
    main()

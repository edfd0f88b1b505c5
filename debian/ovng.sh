#!/usr/bin/python3
import sys

from ovng.cli.main import main

sys.exit(main())

"""The command line: `commands` defines what can be typed, `output` what is printed, `doctor` checks the machine."""
